"""lia_model's networks, filled with seeded weights by their published names, in the order of a checkpoint."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from lia_model.config import LiaConfig
from lia_model.discriminator import Discriminator
from lia_model.fir import fir_kernel
from lia_model.generator import Generator
from lia_model.losses import PerceptualLoss, discriminator_loss, generator_adversarial_loss
from lia_model.published import (
    PublishedTensor,
    discriminator_layout,
    generator_layout,
    load_discriminator,
    load_generator,
)
from lia_model.vgg import VggFeatures
from tests.parity import seeded
from tests.parity.training import Implementation


def seeded_networks(config: LiaConfig) -> tuple[Generator, Discriminator]:
    """Both networks of these sizes, by way of a checkpoint in the published format."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seeded.pt"
        generator = _seeded_state("gen", generator_layout(config))
        torch.save({"gen": generator, "dis": _seeded_state("dis", discriminator_layout(config))}, path)
        return load_generator(path), load_discriminator(path)


def seeded_training(config: LiaConfig) -> Implementation:
    """Both networks and the losses, VGG19 seeded too, in float64."""
    networks = seeded_networks(config)
    generator, discriminator = (network.double() for network in networks)
    perceptual = seeded_perceptual()
    return Implementation(
        generate=generator,
        discriminate=discriminator,
        perceptual_per_scale=lambda image, target: perceptual(image, target)[1],
        generator_adversarial_loss=generator_adversarial_loss,
        discriminator_loss=discriminator_loss,
        generator_parameters=list(generator.parameters()),
        discriminator_parameters=list(discriminator.parameters()),
    )


def seeded_perceptual() -> PerceptualLoss:
    """The perceptual loss with a seeded VGG19, in float64."""
    vgg = VggFeatures("vgg19").double()
    vgg.load_state_dict({name: seeded.vgg_weight(name, *x.shape) for name, x in vgg.state_dict().items()})
    return PerceptualLoss(vgg)


def _seeded_state(network: str, layout: list[PublishedTensor]) -> dict[str, Tensor]:
    return {
        tensor.name: fir_kernel()
        if tensor.name.endswith("kernel")
        else seeded.weight(network, tensor.name, *tensor.shape)
        for tensor in layout
    }
