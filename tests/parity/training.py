"""LIA's training step in the plainest form, for any implementation of the networks and losses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.parity import seeded

LEARNING_RATE = 0.002
GENERATOR_LAZY_RATIO = 4 / 5
DISCRIMINATOR_LAZY_RATIO = 16 / 17


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """Networks and losses as functions of tensors; weights of the losses are not part of them."""

    generate: Callable[[Tensor, Tensor], Tensor]
    discriminate: Callable[[Tensor], Tensor]
    perceptual_per_scale: Callable[[Tensor, Tensor], Tensor]
    generator_adversarial_loss: Callable[[Tensor], Tensor]
    discriminator_loss: Callable[[Tensor, Tensor], Tensor]
    generator_parameters: list[Tensor]
    discriminator_parameters: list[Tensor]


def training_pair(step: int, batch: int, size: int) -> tuple[Tensor, Tensor]:
    """Source and driving images of a step, in float64."""
    names = (f"train.source.{step}", f"train.driving.{step}")
    source, driving = (seeded.image(name, batch, size).double() for name in names)
    return source, driving


def train(
    made: Implementation, *, steps: int, batch: int, size: int
) -> Iterator[dict[str, float | list[float]]]:
    """Losses and the norm of the generator's gradients, step by step."""
    optimise_g = _adam(made.generator_parameters, GENERATOR_LAZY_RATIO)
    optimise_d = _adam(made.discriminator_parameters, DISCRIMINATOR_LAZY_RATIO)
    for step in range(steps):
        source, driving = training_pair(step, batch, size)

        image = made.generate(source, driving)
        l1 = (image - driving).abs().mean()
        per_scale = 10 * made.perceptual_per_scale(image, driving)
        adversarial = made.generator_adversarial_loss(made.discriminate(image))
        optimise_g.zero_grad()
        (l1 + per_scale.sum() + adversarial).backward()
        norm = torch.stack([parameter.grad.norm() for parameter in made.generator_parameters]).norm()
        optimise_g.step()

        loss_d = made.discriminator_loss(made.discriminate(driving), made.discriminate(image.detach()))
        optimise_d.zero_grad()
        loss_d.backward()
        optimise_d.step()

        yield {
            "perceptual": per_scale.sum().item(),
            "perceptual_per_scale": per_scale.tolist(),
            "l1": l1.item(),
            "adversarial_g": adversarial.item(),
            "grad_norm_g": norm.item(),
            "loss_d": loss_d.item(),
        }


def _adam(parameters: list[Tensor], lazy_ratio: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=LEARNING_RATE * lazy_ratio, betas=(0.0, 0.99**lazy_ratio))
