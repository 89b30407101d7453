"""One optimisation step of LIA in plain PyTorch: the generator, then the discriminator, on one batch."""

# B pairs on this worker, H = W = image size; images lie in [-1, 1]
import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lia_model.config import LiaConfig
from lia_model.discriminator import Discriminator
from lia_model.generator import Generator
from lia_model.layout import channels_last
from lia_model.losses import PerceptualLoss, PyramidL1, discriminator_loss, generator_adversarial_loss
from lia_model.recompute import recompute_blocks
from orchestration.errors import WorkFailedError
from orchestration.experiment import ComputeConfig, Experiment, LossConfig, OptimiserConfig

# Adam carries StyleGAN2's lazy-regularisation ratios though LIA applies no regulariser; kept for parity.
GENERATOR_LAZY_RATIO = 4 / 5
DISCRIMINATOR_LAZY_RATIO = 16 / 17


class TrainingDiverged(WorkFailedError):
    """A loss term or a weight is NaN or infinite."""

    def __init__(self, message: str, step: int = 0) -> None:  # an error is unpickled by its message alone
        super().__init__(message)
        self.step = step


@dataclass(kw_only=True)
class Networks:
    """The trained networks with their optimisers; without an adversarial term there is no discriminator."""

    generator: Generator
    generator_optimiser: torch.optim.Adam
    average: Generator | None
    """Moving average of the generator's weights, where the experiment wants one."""
    discriminator: Discriminator | None
    discriminator_optimiser: torch.optim.Adam | None

    @classmethod
    def create(
        cls,
        experiment: Experiment,
        device: torch.device | str = "cpu",
        *,
        initial: Generator | None = None,
        initial_discriminator: Discriminator | None = None,
    ) -> "Networks":
        """Networks before the first step; their weights depend on seed, model and `initial_flow` alone.

        Initial networks, of the experiment's sizes, give their weights where there is a network to take them.
        """
        layout = torch.channels_last if experiment.compute.channels_last else torch.preserve_format
        optimiser = experiment.optimiser
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(experiment.schedule.seed)
            generator = Generator(experiment.model)
            generator.synthesis.scale_flow(optimiser.initial_flow)
            discriminator = _discriminator(experiment.model, experiment.loss)
        if initial is not None:
            generator.load_state_dict(initial.state_dict())
        if initial_discriminator is not None and discriminator is not None:
            discriminator.load_state_dict(initial_discriminator.state_dict())
        generator.to(device, memory_format=layout)  # type: ignore[call-overload]
        if discriminator is not None:
            discriminator.to(device, memory_format=layout)  # type: ignore[call-overload]
        return cls(
            generator=generator,
            generator_optimiser=adam(generator, optimiser, GENERATOR_LAZY_RATIO),
            average=copy.deepcopy(generator).requires_grad_(False) if optimiser.ema else None,
            discriminator=discriminator,
            discriminator_optimiser=(
                adam(discriminator, optimiser, DISCRIMINATOR_LAZY_RATIO)
                if discriminator is not None
                else None
            ),
        )

    @property
    def model(self) -> Generator:
        """The generator that is the run's result: the moving average, where there is one."""
        return self.generator if self.average is None else self.average


def _discriminator(model: LiaConfig, loss: LossConfig) -> Discriminator | None:
    return Discriminator(model) if loss.adversarial > 0 else None


def adam(network: nn.Module, config: OptimiserConfig, ratio: float) -> torch.optim.Adam:
    """Adam with learning rate and decays adjusted for a regulariser applied every 1/(1-ratio) steps (StyleGAN2)."""
    betas = (config.beta1**ratio, config.beta2**ratio)
    return torch.optim.Adam(network.parameters(), lr=config.lr * ratio, betas=betas, fused=True)


@dataclass(frozen=True, kw_only=True)
class Share:
    """How a rank goes through its part of a batch."""

    batch_size: int
    """Pairs in a step, over all ranks."""
    micro_batch_size: int
    """Pairs that go through the networks at once, at most."""
    ranks: int

    def parts(self, *images: Tensor) -> Iterator[tuple[float, tuple[Tensor, ...]]]:
        """The images in parts, each with the weight that makes the mean over ranks a mean over the batch."""
        for part in zip(*(image.split(self.micro_batch_size) for image in images), strict=True):
            yield len(part[0]) * self.ranks / self.batch_size, part


class _Reconstruction(nn.Module):
    """The generator's part of a training step, as a module that DistributedDataParallel can wrap."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, source: Tensor, driving: Tensor) -> tuple[Tensor, Tensor]:
        return self.generator.reconstruct(source, driving)


class TrainingStep:
    """Callable: (source, driving) -> losses by term, each a detached scalar on the networks' device.

    `wrap` is applied to each network for its own step: DistributedDataParallel in a distributed run. Without a
    `share` the images are the whole batch, gone through at once.
    """

    def __init__(
        self,
        networks: Networks,
        perceptual: PerceptualLoss | None,
        experiment: Experiment,
        *,
        share: Share | None = None,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        self.loss: LossConfig = experiment.loss
        self.compute: ComputeConfig = experiment.compute
        if self.loss.uses_perceptual and perceptual is None:
            raise ValueError(
                f"LossConfig.perceptual = {self.loss.perceptual} needs a PerceptualLoss, got None"
            )
        self.networks = networks
        self.share = share
        self.decay = experiment.optimiser.ema
        device = next(networks.generator.parameters()).device
        self.reconstruction = PyramidL1(self.loss.l1_scales).to(device)
        self.perceptual = perceptual.to(device) if perceptual is not None else None
        wrap = wrap or (lambda network: network)
        reconstruction = _Reconstruction(networks.generator)
        self._computed: list[nn.Module | None] = [reconstruction, networks.discriminator, self.perceptual]
        self._compiled = False
        if self.compute.recompute:
            self._recompute()
        if self.compute.compile:
            self.compile()
        self.generator = wrap(reconstruction)
        self.discriminator = wrap(networks.discriminator) if networks.discriminator is not None else None

    def compile(self, **options: Any) -> None:
        """Compile the networks with torch.compile's options, when they first run.

        They are compiled in place, which leaves the names of their parameters as they are, and so the checkpoints.
        """
        self._compiled = True
        for network in self._computed:
            if network is not None:
                network.compile(**options)

    def _recompute(self) -> None:
        for network in self._computed:
            if network is not None:
                recompute_blocks(network)

    def __call__(self, source: Tensor, driving: Tensor) -> dict[str, Tensor]:
        if self._compiled:
            torch.compiler.cudagraph_mark_step_begin()  # what CUDA graphs gave in the step before is done with
        if self.compute.channels_last:
            source, driving = channels_last(source), channels_last(driving)
        terms, fake = self.generator_step(source, driving)
        if self.discriminator is not None:
            terms["discriminator"] = self.discriminator_step(driving, fake)
        return terms

    def generator_step(self, source: Tensor, driving: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Update the generator; returns the weighted terms and the detached reconstruction (B,3,H,W)."""
        optimiser = self.networks.generator_optimiser
        optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        fakes = []
        for weight, (some_source, some_driving), context in self._parts(self.generator, source, driving):
            with context, self.frozen_critic():
                with self.autocast(source):
                    terms, fake = self.generator_losses(some_source, some_driving)
                terms["generator"] = torch.stack(list(terms.values())).sum()
                (terms["generator"] * weight).backward()
            fakes.append(fake.detach())
            _add(sums, terms, weight)
        optimiser.step()
        self._follow()
        return sums, torch.cat(fakes)

    def generator_losses(self, source: Tensor, driving: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """L1 + lambda * perceptual + adversarial (LIA, eq. 8) + sparsity (LIA-X), each already weighted.

        To be called, and sent backward, within `frozen_critic`.
        """
        fake, magnitude = self.generator(source, driving)
        terms = {"l1": self.loss.l1 * self.reconstruction(fake, driving)[0]}
        if self.loss.sparsity:
            terms["sparsity"] = self.loss.sparsity * magnitude.abs().mean()
        if self.loss.uses_perceptual and self.perceptual is not None:
            terms["perceptual"] = self.loss.perceptual * self.perceptual(fake, driving)[0]
        critic = self.networks.discriminator
        if critic is not None:
            # The bare network: DistributedDataParallel would wait for gradients that this step does not make.
            terms["adversarial"] = self.loss.adversarial * generator_adversarial_loss(critic(fake))
        return terms, fake

    @contextmanager
    def frozen_critic(self) -> Iterator[None]:
        """Within it the generator's losses make no gradients of the discriminator's weights.

        The backward pass belongs in it, too: blocks that are computed again must find what they found before.
        """
        critic = self.networks.discriminator
        if critic is not None:
            critic.requires_grad_(False)
        try:
            yield
        finally:
            if critic is not None:
                critic.requires_grad_(True)

    def discriminator_step(self, real: Tensor, fake: Tensor) -> Tensor:
        """Update the discriminator on real frames and detached reconstructions; returns its loss."""
        optimiser = self.networks.discriminator_optimiser
        assert optimiser is not None
        assert self.discriminator is not None
        optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for weight, (some_real, some_fake), context in self._parts(self.discriminator, real, fake):
            with context:
                with self.autocast(real):
                    loss = discriminator_loss(self.discriminator(some_real), self.discriminator(some_fake))
                (loss * weight).backward()
            _add(sums, {"discriminator": loss}, weight)
        optimiser.step()
        return sums["discriminator"]

    def autocast(self, like: Tensor) -> torch.autocast:
        """The precision that both networks run in."""
        enabled = self.compute.precision == "bf16"
        return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _parts(
        self, network: nn.Module, *images: Tensor
    ) -> Iterator[tuple[float, tuple[Tensor, ...], AbstractContextManager[None]]]:
        """The parts of a batch; ranks average gradients in the last one's backward pass alone."""
        parts = list(self.share.parts(*images)) if self.share else [(1.0, images)]
        for number, (weight, part) in enumerate(parts, 1):
            averaging: AbstractContextManager[None] = nullcontext()
            if number < len(parts) and isinstance(network, nn.parallel.DistributedDataParallel):
                averaging = network.no_sync()
            yield weight, part, averaging

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the moving average take its step towards the generator."""
        if self.networks.average is not None:
            averages: list[Tensor] = list(self.networks.average.parameters())
            weights: list[Tensor] = list(self.networks.generator.parameters())
            torch._foreach_lerp_(averages, weights, 1 - self.decay)


def _add(sums: dict[str, Tensor], terms: dict[str, Tensor], weight: float) -> None:
    for name, term in terms.items():
        value = term.detach() * weight
        sums[name] = sums[name] + value if name in sums else value


def require_finite_weights(networks: Networks, step: int) -> None:
    """Raise TrainingDiverged before weights that are no numbers are saved."""
    for network in (networks.generator, networks.discriminator):
        for name, weight in network.named_parameters() if network is not None else ():
            if not torch.isfinite(weight).all():
                raise TrainingDiverged(f"step {step}: weights of {name} not finite", step)
