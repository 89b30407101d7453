"""The loop each rank runs, free of Ray and MLflow: data in, steps, records, validation, checkpoints.

A launcher hands the loop a `Rank`: alone in a process for tests and debugging, or a worker of Ray Train.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lia_model.discriminator import Discriminator
from lia_model.generator import Generator
from lia_model.losses import PerceptualLoss
from lia_model.pixels import to_float
from orchestration import configuration
from orchestration.experiment import Experiment
from orchestration.training.augmentation import augment
from orchestration.training.checkpoint import (
    CheckpointError,
    Origin,
    Progress,
    Snapshot,
    require_same_run,
    restore_checkpoint,
)
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.step import (
    Networks,
    Share,
    TrainingDiverged,
    TrainingStep,
    require_finite_weights,
)
from orchestration.training.validation import Validation
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.sampler import PairKey, PairSampler, hash64


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known every `log_every` steps: mean losses since the last record, and how fast it went."""

    step: int
    steps: int
    losses: dict[str, float]
    pairs_per_second: float
    data_wait: float
    """Share of the time spent waiting for data."""
    workers: int


class Rank(Protocol):
    """One training process among `world_size`, as its launcher sees it."""

    index: int
    world_size: int
    device: torch.device
    checkpoints: CheckpointStore
    """Of the run; all ranks see the same folder, rank 0 writes."""

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as it takes part in gradient averaging."""

    def gather(self, row: Tensor) -> Tensor:
        """Rows of all ranks, stacked; every rank calls it."""

    def stop_requested(self) -> bool:
        """Whether training is to end after this step; every rank calls it and gets the same answer."""

    def note(self, message: str) -> None:
        """Tell whoever watches (called on rank 0)."""

    def record(self, record: Record) -> None:
        """Take note of losses (called on rank 0)."""

    def validated(self, step: int, scores: Mapping[str, float]) -> None:
        """Take note of a validation (called on rank 0)."""

    def sample(self, step: int, model: Generator) -> None:
        """Draw a sample grid (called on rank 0)."""


def train_rank(
    experiment: Experiment,
    dataset: PairDataset,
    rank: Rank,
    origin: Origin,
    *,
    held_out: PairDataset | None = None,
    perceptual: PerceptualLoss | None = None,
    initial: Generator | None = None,
    initial_discriminator: Discriminator | None = None,
    stop_after: int | None = None,
) -> Progress:
    """Train to `schedule.steps` (or `stop_after`) from the newest checkpoint, or from the start.

    The start has the weights of the initial networks where they are given. Raises TrainingDiverged when a loss or
    weight is not finite; checkpoints before that stay as they are. CheckpointError and StorageError as the
    checkpoints meet them.
    """
    schedule = experiment.schedule
    networks = Networks.create(
        experiment, rank.device, initial=initial, initial_discriminator=initial_discriminator
    )
    torch.manual_seed(hash64(schedule.seed, rank.index) >> 1)
    first = _resume(rank, networks, experiment, origin)
    share = Share(
        batch_size=schedule.batch_size, micro_batch_size=schedule.micro_batch_size, ranks=rank.world_size
    )
    step_once = TrainingStep(networks, perceptual, experiment, share=share, wrap=rank.wrap)
    if rank.world_size > 1:
        settle_gradient_buckets(step_once, experiment)
    validate = _validation(experiment, held_out, rank, perceptual)
    last = max(first, min(schedule.steps, stop_after or schedule.steps))
    sampler = PairSampler(dataset.n_frames, seed=schedule.seed, rank=rank.index, world_size=rank.world_size)
    meter = _Meter(experiment, first)
    batches = timed(load_batches(dataset, sampler, experiment, rank, first), meter.waited)
    step = first
    for step, (source, driving) in zip(range(first + 1, last + 1), batches, strict=False):
        meter.add(step_once(source, driving))
        end = rank.stop_requested() or step == last
        to_record, to_save = (
            end or step % every == 0 for every in (schedule.log_every, schedule.checkpoint_every)
        )
        to_sample, to_validate = (
            end or step % every == 0 for every in (schedule.sample_every, schedule.validate_every)
        )
        if to_record or to_save or to_sample or to_validate:
            _require_finite(meter, rank, networks if to_save else None)
        if to_record:
            record = meter.take(step, rank)
            if rank.index == 0:
                rank.record(record)
        if to_sample and rank.index == 0:
            rank.sample(step, networks.model)
        scores: dict[str, float] = {}
        if validate and (to_validate or to_save):
            scores = validate(networks.model)
            if rank.index == 0:
                rank.validated(step, scores)
        if to_save:
            _save(rank, networks, _progress(experiment, rank, origin, len(dataset), step, scores))
        if end:
            break
    rank.checkpoints.finish()
    return _progress(experiment, rank, origin, len(dataset), step, {})


def _resume(rank: Rank, networks: Networks, experiment: Experiment, origin: Origin) -> int:
    """Load the newest sound checkpoint, which rank 0 finds; returns the steps done, 0 at the start."""
    found, failure = None, None
    if rank.index == 0:
        try:
            found = rank.checkpoints.newest_sound()
        except CheckpointError as error:  # the other ranks are waiting to hear of it
            failure = error
    say = -1 if failure else found or 0
    step = int(rank.gather(torch.tensor([say]))[0])
    if failure:
        raise failure
    if step < 0:
        raise CheckpointError(f"{rank.checkpoints.folder}: rank 0 found no sound checkpoint there")
    if rank.index == 0:
        for message in rank.checkpoints.set_aside:
            rank.note(message)
    if step == 0:
        return 0
    folder = rank.checkpoints.path(step)
    there = restore_checkpoint(folder, networks, rank.index)
    require_same_run(folder, there, experiment, origin, rank.world_size)
    if there.world_size != rank.world_size and rank.index == 0:
        schedule = experiment.schedule
        largest = -(-schedule.batch_size // rank.world_size)
        rank.note(
            f"goes on from step {step} with {rank.world_size} workers, before {there.world_size}: a batch stays "
            f"{schedule.batch_size} pairs, up to {largest} a worker in {-(-largest // schedule.micro_batch_size)} parts"
        )
    return step


def _validation(
    experiment: Experiment, held_out: PairDataset | None, rank: Rank, perceptual: PerceptualLoss | None
) -> Validation | None:
    if held_out is None or experiment.schedule.validation_pairs == 0:
        return None
    return Validation(
        held_out,
        pairs=experiment.schedule.validation_pairs,
        device=rank.device,
        perceptual=perceptual,
        rank=rank.index,
        world_size=rank.world_size,
        gather=rank.gather,
    )


def load_batches(
    dataset: PairDataset, sampler: PairSampler, experiment: Experiment, rank: Rank, first_step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (source, driving), each (b,3,H,W) in [-1, 1] on the rank's device, from step `first_step` on."""
    keys = sampler.batches(experiment.schedule.batch_size, start=first_step)
    loader = torch.utils.data.DataLoader(
        _KeyedPairs(dataset),
        batch_sampler=keys,
        num_workers=experiment.data.loader_workers,
        collate_fn=_collate,
        pin_memory=rank.device.type == "cuda",
        generator=torch.Generator(),  # left out, the loader would draw its seed from the training's own
    )
    for batch_keys, frames_BPHWC in loader:
        pairs = to_float(frames_BPHWC.to(rank.device, non_blocking=True))
        pairs = augment(pairs, experiment.data, batch_keys, experiment.schedule.seed)
        source, driving = pairs.unbind(1)
        yield source.contiguous(), driving.contiguous()


class _KeyedPairs(torch.utils.data.Dataset[tuple[PairKey, Tensor]]):
    """The pair reader as PyTorch sees it: indexed by sampler keys."""

    def __init__(self, dataset: PairDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: PairKey) -> tuple[PairKey, Tensor]:
        frames = self.dataset.frames(key.clip, (key.source_frame, key.driving_frame))
        return key, torch.from_numpy(frames)


def _collate(items: list[tuple[PairKey, Tensor]]) -> tuple[list[PairKey], Tensor]:
    return [key for key, _ in items], torch.stack([frames for _, frames in items])


def timed(
    batches: Iterator[tuple[Tensor, Tensor]], waited: Callable[[float], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches; tells `waited` the seconds that each took to come."""
    while True:
        start = time.perf_counter()
        batch = next(batches)
        waited(time.perf_counter() - start)
        yield batch


def settle_gradient_buckets(step: TrainingStep, experiment: Experiment) -> None:
    """Let DistributedDataParallel reach its final bucket layout before the first real step.

    It lays its buckets out anew after the first backward pass, and with three or more ranks the layout decides
    the order in which gradients are summed. Without this pass the first step after a resume would round
    differently from the same step of a run that never stopped.
    """
    size, count = experiment.model.image_size, experiment.schedule.micro_batch_size
    parameter = next(step.generator.parameters())
    images = torch.zeros(count, 3, size, size, device=parameter.device)
    with step.frozen_critic():
        with step.autocast(images):
            terms, fake = step.generator_losses(images, images)
        torch.stack(list(terms.values())).sum().backward()
    if step.discriminator is not None:
        with step.autocast(images):
            logits = step.discriminator(images) + step.discriminator(fake.detach())
        logits.sum().backward()
        step.discriminator.zero_grad(set_to_none=True)
    step.generator.zero_grad(set_to_none=True)


class _Meter:
    """Keeps losses on the device and reads them only when they are wanted."""

    def __init__(self, experiment: Experiment, first: int) -> None:
        self.schedule = experiment.schedule
        self.names: list[str] = []
        self.step = first
        self._reset()

    def _reset(self) -> None:
        self.unread: list[Tensor] = []
        self.read: list[list[float]] = []
        self.waiting = 0.0
        self.start = time.perf_counter()

    def waited(self, seconds: float) -> None:
        self.waiting += seconds

    def add(self, terms: Mapping[str, Tensor]) -> None:
        self.step += 1
        self.names = list(terms)
        self.unread.append(torch.stack([term.double() for term in terms.values()]))

    def first_infinite(self, rank: Rank) -> tuple[int, dict[str, float]] | None:
        """The first step with a loss that is not finite, and its losses; every rank calls it and hears the same."""
        rows = rank.gather(torch.stack(self.unread)).mean(0).tolist()
        begin = self.step - len(rows) + 1
        self.read += rows
        self.unread = []
        for step, row in enumerate(rows, begin):
            if not all(map(math.isfinite, row)):
                return step, dict(zip(self.names, row, strict=True))
        return None

    def take(self, step: int, rank: Rank) -> Record:
        """What was read since the last record."""
        count = len(self.read)
        means = [sum(column) / count for column in zip(*self.read, strict=True)]
        elapsed = time.perf_counter() - self.start
        record = Record(
            step=step,
            steps=self.schedule.steps,
            losses=dict(zip(self.names, means, strict=True)),
            pairs_per_second=count * self.schedule.batch_size / elapsed,
            data_wait=self.waiting / elapsed,
            workers=rank.world_size,
        )
        self._reset()
        return record


def _require_finite(meter: _Meter, rank: Rank, networks: Networks | None) -> None:
    """Raise TrainingDiverged with the step, its losses and the last checkpoint, on every rank.

    The weights of `networks` are looked at as well, if given: before they are saved.
    """
    try:
        if found := meter.first_infinite(rank):
            step, terms = found
            bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
            listed = ", ".join(f"{name} = {value:g}" for name, value in terms.items())
            raise TrainingDiverged(f"step {step}: {bad} not finite ({listed})")
        if networks is not None:
            require_finite_weights(networks, meter.step)
    except TrainingDiverged as error:
        rank.checkpoints.finish()
        steps = rank.checkpoints.steps()
        saved = rank.checkpoints.path(steps[-1]) if steps else None
        begin = f" and --init {saved}" if saved else ""
        raise TrainingDiverged(
            f"{error}; last good checkpoint: {saved or 'none yet'}. Start a new run with a lower optimiser.lr{begin}"
        ) from None


def _progress(
    experiment: Experiment, rank: Rank, origin: Origin, clips: int, step: int, scores: dict[str, float]
) -> Progress:
    pairs_seen = step * experiment.schedule.batch_size
    return Progress(
        step=step,
        pairs_seen=pairs_seen,
        epoch=pairs_seen // clips,
        validation=scores,
        config=configuration.to_dict(experiment),
        dataset_digest=origin.dataset_digest,
        world_size=rank.world_size,
        provenance=origin.provenance,
    )


def _save(rank: Rank, networks: Networks, progress: Progress) -> None:
    rng_states = rank.gather(torch.get_rng_state())
    if rank.index == 0:
        rank.checkpoints.save(Snapshot.take(networks, progress, rng_states))
