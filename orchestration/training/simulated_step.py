"""A training step without numbers: the real code on fake tensors, to see what memory and arithmetic it takes.

Fake tensors have shapes, types, strides and storages, but no contents. Storages come and go as they would on a device,
so their bytes can be counted as they live and die; what kernels allocate for themselves is not seen.
"""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lia_model.losses import PerceptualLoss
from lia_model.vgg import VggFeatures
from orchestration.experiment import Experiment, LossConfig
from orchestration.training.step import Networks, Share, TrainingStep

# Two parts show all there is to see: the first makes the gradients, any other adds to them.
_PARTS_SIMULATED = 2
_MOMENTS = 2  # of Adam


@dataclass(frozen=True, kw_only=True)
class NetworkSize:
    """One network: how many numbers it has, and what they occupy."""

    parameters: int
    bytes: int
    """Of parameters and buffers."""
    trainable: int
    """Parameters that the optimiser has."""
    unused: int
    """Trainable parameters that a step gives no gradient."""
    gradient_bytes: int
    """Of the gradients that a step makes."""


@dataclass(frozen=True, kw_only=True)
class SimulatedStep:
    """What one step of one worker takes; memory in bytes, arithmetic in FLOPs (two a multiply-add)."""

    generator: NetworkSize
    discriminator: NetworkSize | None
    perceptual: NetworkSize | None
    average_bytes: int
    optimiser_bytes: int
    """Adam's two moments of both networks."""
    saved_generator: int
    """Kept for the backward pass of the generator's step, on the pairs that go through at once."""
    saved_discriminator: int
    """The same of the discriminator's step; 0 without one."""
    peak: int
    """Most bytes alive at once in a step: weights, moments, gradients, activations and what comes and goes."""
    flops_generator: float
    """A pair's, in the generator's step: forward and backward, losses included."""
    flops_discriminator: float
    """A pair's, in the discriminator's step."""

    @property
    def flops(self) -> float:
        """A pair's, in the whole step."""
        return self.flops_generator + self.flops_discriminator

    @property
    def networks(self) -> tuple[NetworkSize, ...]:
        """The networks that are trained."""
        return (self.generator,) if self.discriminator is None else (self.generator, self.discriminator)

    @property
    def gradient_bytes(self) -> int:
        """Of all gradients that ranks average in a step."""
        return sum(network.gradient_bytes for network in self.networks)


def simulate_step(experiment: Experiment) -> SimulatedStep:
    """Go through a worker's steps on fake tensors. Takes seconds and the memory of the weights alone.

    The step is the uncompiled one, in the precision, layout and parts of the experiment.
    """
    schedule = experiment.schedule
    plain = replace(experiment, compute=replace(experiment.compute, device="cpu", compile=False))
    parts = min(schedule.micro_batches, _PARTS_SIMULATED)
    at_once = schedule.micro_batch_size
    networks = Networks.create(plain)
    moments = sum(_MOMENTS * _bytes(group) for group in _optimised(networks))
    networks = _with_still_optimisers(networks, keep_gradients=schedule.workers > 1)
    perceptual = random_perceptual(experiment.loss)
    share = Share(batch_size=parts * at_once, micro_batch_size=at_once, ranks=1)
    with FakeTensorMode() as mode, LiveBytes() as live:
        step = TrainingStep(networks, perceptual, plain, share=share)
        statics = _make_fake(mode, step)
        live.include(statics)
        side = experiment.model.image_size
        source, driving = (torch.zeros(parts * at_once, 3, side, side) for _ in range(2))
        step(source, driving)  # from the second step on, gradients of the step before are there
        live.reset_peak()
        counted = {"generator": SavedBytes(statics), "discriminator": SavedBytes(statics)}
        source, driving = _laid_out(plain, source, driving)
        with FlopCounterMode(display=False) as work, counted["generator"]:
            _, fake = step.generator_step(source, driving)
        flops = [work.get_total_flops()]
        if step.discriminator is not None:
            with FlopCounterMode(display=False) as work, counted["discriminator"]:
                step.discriminator_step(driving, fake)
            flops.append(work.get_total_flops())
        sizes = [
            _size(network) for network in (networks.generator, networks.discriminator, perceptual) if network
        ]
    pairs = parts * at_once
    not_simulated = schedule.batch_size // schedule.workers - pairs
    image = 3 * side * side * source.element_size()
    found = iter(sizes)
    return SimulatedStep(
        generator=next(found),
        discriminator=next(found) if networks.discriminator is not None else None,
        perceptual=next(found) if perceptual is not None else None,
        average_bytes=_bytes(networks.average.parameters()) if networks.average is not None else 0,
        optimiser_bytes=moments,
        saved_generator=counted["generator"].peak,
        saved_discriminator=counted["discriminator"].peak,
        # Pairs of the parts that were left out: source, driving image and reconstruction wait for their turn.
        peak=live.peak + moments + 3 * image * not_simulated,
        flops_generator=flops[0] / pairs,
        flops_discriminator=sum(flops[1:]) / pairs,
    )


def random_perceptual(loss: LossConfig) -> PerceptualLoss | None:
    """The perceptual term with random weights: as large and as slow as with the real ones."""
    if not loss.uses_perceptual:
        return None
    variant = loss.perceptual_features.partition("-")[0]
    with torch.random.fork_rng(devices=[]):
        return PerceptualLoss(VggFeatures(variant), loss.perceptual_scales)  # type: ignore[arg-type]


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages alive, of tensors made within it, and the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages = _Storages()

    @property
    def peak(self) -> int:
        """The most bytes alive at once since the last `reset_peak`."""
        return self._storages.peak

    def reset_peak(self) -> None:
        """Count the peak from what is alive now."""
        self._storages.peak = self._storages.live

    def include(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were there before, too."""
        for tensor in tensors:
            self._storages.add(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.include(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes of storages that autograd keeps for backward passes, but for those of `without`."""

    def __init__(self, without: Iterable[Tensor] = ()) -> None:
        self._without = {tensor.untyped_storage()._cdata for tensor in without}
        self._storages = _Storages()
        super().__init__(self._pack, lambda tensor: tensor)

    @property
    def peak(self) -> int:
        """The most bytes kept at once."""
        return self._storages.peak

    def _pack(self, tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in self._without:
            self._storages.add(tensor)
        return tensor


class _Storages:
    """Storages alive, each counted once however many tensors look at it."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def forget(_: object) -> None:
            self.live -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, forget)
        self.live += size
        self.peak = max(self.peak, self.live)


class _StillAdam(torch.optim.Adam):
    """Adam that does nothing: its step reads numbers, which fake tensors do not have."""

    keep_gradients = False

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass

    def zero_grad(self, set_to_none: bool = True) -> None:
        # DistributedDataParallel's buckets hold the gradients' memory for good.
        super().zero_grad(set_to_none and not self.keep_gradients)

    @classmethod
    def of(cls, network: nn.Module, *, keep_gradients: bool) -> Self:
        still = cls(network.parameters())
        still.keep_gradients = keep_gradients
        return still


def _with_still_optimisers(networks: Networks, *, keep_gradients: bool) -> Networks:
    """The same networks, with optimisers that leave them alone."""
    generator, discriminator = networks.generator, networks.discriminator
    return replace(
        networks,
        generator_optimiser=_StillAdam.of(generator, keep_gradients=keep_gradients),
        discriminator_optimiser=(
            _StillAdam.of(discriminator, keep_gradients=keep_gradients) if discriminator is not None else None
        ),
    )


def _make_fake(mode: FakeTensorMode, step: TrainingStep) -> list[Tensor]:
    """Turn all parameters and buffers of a step into fake tensors, in place; returns them."""
    networks = step.networks
    made: list[Tensor] = []
    modules = (
        networks.generator, networks.discriminator, networks.average, step.perceptual, step.reconstruction
    )  # fmt: skip
    for network in modules:
        for module in network.modules() if network is not None else ():
            for group in (module._parameters, module._buffers):
                for name, tensor in group.items():
                    if tensor is not None:
                        fake = mode.from_tensor(tensor)
                        group[name] = fake  # type: ignore[assignment]
                        made.append(fake)
    for optimiser, owner in (
        (networks.generator_optimiser, networks.generator),
        (networks.discriminator_optimiser, networks.discriminator),
    ):
        if optimiser is not None and owner is not None:
            optimiser.param_groups[0]["params"] = list(owner.parameters())
    return made


def _laid_out(experiment: Experiment, *images: Tensor) -> list[Tensor]:
    """Images in the memory format in which the step hands them to the networks."""
    layout = torch.channels_last if experiment.compute.channels_last else torch.contiguous_format
    return [image.contiguous(memory_format=layout) for image in images]


def _optimised(networks: Networks) -> list[list[Tensor]]:
    optimisers = (networks.generator_optimiser, networks.discriminator_optimiser)
    return [optimiser.param_groups[0]["params"] for optimiser in optimisers if optimiser is not None]


def _size(network: nn.Module) -> NetworkSize:
    parameters = list(network.parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    with_gradient = [parameter for parameter in trainable if parameter.grad is not None]
    return NetworkSize(
        parameters=sum(parameter.numel() for parameter in parameters),
        bytes=_bytes(parameters) + _bytes(network.buffers()),
        trainable=sum(parameter.numel() for parameter in trainable),
        unused=sum(parameter.numel() for parameter in trainable if parameter.grad is None),
        gradient_bytes=_bytes(with_gradient),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
