"""The loop each rank runs, free of Ray and MLflow: data in, steps, records, validation, checkpoints.

A launcher hands the loop a `Rank`: alone in a process for tests and debugging, or a worker of Ray Train.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lia_model.discriminator import Discriminator
from lia_model.generator import Generator
from lia_model.losses import PerceptualLoss
from orchestration import configuration
from orchestration.experiment import Experiment
from orchestration.training.checkpoint import (
    CheckpointError,
    Origin,
    Progress,
    Snapshot,
    require_same_run,
    restore_checkpoint,
)
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.feed import Feed
from orchestration.training.step import (
    Networks,
    Share,
    TrainingDiverged,
    TrainingStep,
    require_finite_weights,
)
from orchestration.training.validation import Validation
from pipelines.dataset.editions import GrowingDataset
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.sampler import hash64


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

    def grown(self, step: int, clips: int) -> None:
        """Take note that after this step there are so many clips to train on (called on rank 0)."""


def train_rank(
    experiment: Experiment,
    dataset: PairDataset | GrowingDataset,
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

    The start has the weights of the initial networks where they are given. What a dataset that grows has got since is
    taken in after a checkpoint, which knows of it: between two of them the data stays the same. Raises
    TrainingDiverged when a loss or weight is not finite; checkpoints before that stay as they are. CheckpointError and
    StorageError as the checkpoints meet them.
    """
    schedule = experiment.schedule
    networks = Networks.create(
        experiment, rank.device, initial=initial, initial_discriminator=initial_discriminator
    )
    torch.manual_seed(hash64(schedule.seed, rank.index) >> 1)
    first, edition = _resume(rank, networks, experiment, origin)
    share = Share(
        batch_size=schedule.batch_size, micro_batch_size=schedule.micro_batch_size, ranks=rank.world_size
    )
    step_once = TrainingStep(networks, perceptual, experiment, share=share, wrap=rank.wrap)
    if rank.world_size > 1:
        settle_gradient_buckets(step_once, experiment)
    validate = _validation(experiment, held_out, rank, perceptual)
    last = max(first, min(schedule.steps, stop_after or schedule.steps))
    meter = _Meter(experiment, first)
    feed = Feed(dataset, experiment, rank, step=first, edition=edition, waited=meter.waited)
    if feed.grows and rank.index == 0:
        rank.grown(first, feed.clips)
    step = first
    for step, (source, driving) in zip(range(first + 1, last + 1), feed, strict=False):
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
            if not end and feed.grow(step) and rank.index == 0:
                rank.grown(step, feed.clips)
            _save(rank, networks, _progress(experiment, rank, origin, feed, step, scores))
        if end:
            break
    rank.checkpoints.finish()
    return _progress(experiment, rank, origin, feed, step, {})


def _resume(rank: Rank, networks: Networks, experiment: Experiment, origin: Origin) -> tuple[int, int | None]:
    """Load the newest sound checkpoint, which rank 0 finds; returns the steps done and the edition to go on with.

    At the start these are 0 and None.
    """
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
        return 0, None
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
    return step, there.edition


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
            raise TrainingDiverged(f"step {step}: {bad} not finite ({listed})", step)
        if networks is not None:
            require_finite_weights(networks, meter.step)
    except TrainingDiverged as error:
        rank.checkpoints.finish()
        steps = rank.checkpoints.steps()
        saved = rank.checkpoints.path(steps[-1]) if steps else None
        begin = f" and --init {saved}" if saved else ""
        raise TrainingDiverged(
            f"{error}; last good checkpoint: {saved or 'none yet'}. Start a new run with a lower optimiser.lr{begin}",
            error.step,
        ) from None


def _progress(
    experiment: Experiment, rank: Rank, origin: Origin, feed: Feed, step: int, scores: dict[str, float]
) -> Progress:
    pairs_seen = step * experiment.schedule.batch_size
    return Progress(
        step=step,
        pairs_seen=pairs_seen,
        epoch=pairs_seen // feed.clips,
        edition=feed.edition,
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
