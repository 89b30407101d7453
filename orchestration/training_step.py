"""One optimisation step of LIA in plain PyTorch: the generator, then the discriminator, on one batch."""

# B pairs on this worker, H = W = image size; images lie in [-1, 1]
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lia_model.config import LiaConfig
from lia_model.discriminator import Discriminator
from lia_model.generator import Generator
from lia_model.losses import PerceptualLoss, PyramidL1, discriminator_loss, generator_adversarial_loss
from orchestration.errors import WorkFailedError
from orchestration.experiment import Experiment, LossConfig, OptimiserConfig

# Adam carries StyleGAN2's lazy-regularisation ratios though LIA applies no regulariser; kept for parity.
GENERATOR_LAZY_RATIO = 4 / 5
DISCRIMINATOR_LAZY_RATIO = 16 / 17


class TrainingDiverged(WorkFailedError):
    """A loss term is NaN or infinite."""


@dataclass
class Networks:
    """The trained networks with their optimisers; without an adversarial term there is no discriminator."""

    generator: Generator
    generator_optimiser: torch.optim.Adam
    discriminator: Discriminator | None
    discriminator_optimiser: torch.optim.Adam | None

    @classmethod
    def create(cls, experiment: Experiment, device: torch.device | str = "cpu") -> "Networks":
        """Freshly initialised networks; initial weights depend on seed, model and `initial_flow` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(experiment.schedule.seed)
            generator = Generator(experiment.model)
            generator.synthesis.scale_flow(experiment.optimiser.initial_flow)
            generator.to(device)
            discriminator = _discriminator(experiment.model, experiment.loss)
        if discriminator is None:
            return cls(generator, adam(generator, experiment.optimiser, GENERATOR_LAZY_RATIO), None, None)
        discriminator.to(device)
        return cls(
            generator,
            adam(generator, experiment.optimiser, GENERATOR_LAZY_RATIO),
            discriminator,
            adam(discriminator, experiment.optimiser, DISCRIMINATOR_LAZY_RATIO),
        )


def _discriminator(model: LiaConfig, loss: LossConfig) -> Discriminator | None:
    return Discriminator(model) if loss.adversarial > 0 else None


def adam(network: nn.Module, config: OptimiserConfig, ratio: float) -> torch.optim.Adam:
    """Adam with learning rate and decays adjusted for a regulariser applied every 1/(1-ratio) steps (StyleGAN2)."""
    betas = (config.beta1**ratio, config.beta2**ratio)
    return torch.optim.Adam(network.parameters(), lr=config.lr * ratio, betas=betas)


class TrainingStep:
    """Callable: (source, driving) -> losses by term, each a detached scalar on the networks' device.

    `wrap` is applied to each network for its own step: DistributedDataParallel in a distributed run.
    """

    def __init__(
        self,
        networks: Networks,
        perceptual: PerceptualLoss | None,
        loss: LossConfig,
        *,
        precision: str = "fp32",
        wrap: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        if loss.uses_perceptual and perceptual is None:
            raise ValueError(f"LossConfig.perceptual = {loss.perceptual} needs a PerceptualLoss, got None")
        self.networks = networks
        self.loss = loss
        self.precision = precision
        device = next(networks.generator.parameters()).device
        self.reconstruction = PyramidL1(loss.l1_scales).to(device)
        self.perceptual = perceptual.to(device) if perceptual is not None else None
        wrap = wrap or (lambda network: network)
        self.generator = wrap(networks.generator)
        self.discriminator = wrap(networks.discriminator) if networks.discriminator is not None else None

    def __call__(self, source: Tensor, driving: Tensor) -> dict[str, Tensor]:
        terms, fake = self.generator_step(source, driving)
        if self.discriminator is not None:
            terms["discriminator"] = self.discriminator_step(driving, fake)
        return terms

    def generator_step(self, source: Tensor, driving: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Update the generator; returns the weighted terms and the detached reconstruction (B,3,H,W)."""
        optimiser = self.networks.generator_optimiser
        optimiser.zero_grad(set_to_none=True)
        with self.autocast(source):
            terms, fake = self.generator_losses(source, driving)
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        optimiser.step()
        return {
            **{name: term.detach() for name, term in terms.items()},
            "generator": total.detach(),
        }, fake.detach()

    def generator_losses(self, source: Tensor, driving: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """L1 + lambda * perceptual + adversarial (LIA, eq. 8), each already weighted."""
        fake = self.generator(source, driving)
        terms = {"l1": self.loss.l1 * self.reconstruction(fake, driving)[0]}
        if self.loss.uses_perceptual and self.perceptual is not None:
            terms["perceptual"] = self.loss.perceptual * self.perceptual(fake, driving)[0]
        critic = self.networks.discriminator
        if critic is not None:
            # The bare network: DistributedDataParallel would wait for gradients that this step does not make.
            critic.requires_grad_(False)
            terms["adversarial"] = self.loss.adversarial * generator_adversarial_loss(critic(fake))
            critic.requires_grad_(True)
        return terms, fake

    def discriminator_step(self, real: Tensor, fake: Tensor) -> Tensor:
        """Update the discriminator on real frames and detached reconstructions; returns its loss."""
        optimiser = self.networks.discriminator_optimiser
        assert optimiser is not None
        assert self.discriminator is not None
        optimiser.zero_grad(set_to_none=True)
        with self.autocast(real):
            loss = discriminator_loss(self.discriminator(real), self.discriminator(fake))
        loss.backward()
        optimiser.step()
        return loss.detach()

    def autocast(self, like: Tensor) -> torch.autocast:
        """The precision that both networks run in."""
        return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")


def require_finite_weights(networks: Networks, step: int) -> None:
    """Raise TrainingDiverged before weights that are no numbers are saved."""
    for network in (networks.generator, networks.discriminator):
        for name, weight in network.named_parameters() if network is not None else ():
            if not torch.isfinite(weight).all():
                raise TrainingDiverged(
                    f"step {step}: {name} not finite; start a new run with a lower optimiser.lr"
                )


def require_finite(terms: dict[str, float], step: int) -> None:
    """Raise TrainingDiverged, naming step and terms, when a loss is not a finite number."""
    bad = {name: value for name, value in terms.items() if not math.isfinite(value)}
    if bad:
        listed = ", ".join(f"{name} = {value}" for name, value in terms.items())
        raise TrainingDiverged(
            f"step {step}: {', '.join(bad)} not finite ({listed}); start a new run with a lower optimiser.lr"
        )
