"""The loop each rank runs, free of Ray and MLflow: data in, steps, records, checkpoints.

A launcher hands the loop a `Rank`: alone in a process for tests and debugging, or a worker of Ray Train.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from lia_model.losses import PerceptualLoss
from lia_model.pixels import to_float
from orchestration import configuration
from orchestration.augmentation import augment
from orchestration.experiment import Experiment
from orchestration.training_state import (
    Origin,
    Progress,
    require_same_run,
    restore_checkpoint,
    save_checkpoint,
)
from orchestration.training_step import Networks, TrainingStep, require_finite, require_finite_weights
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


class Rank(Protocol):
    """One training process among `world_size`, as its launcher sees it."""

    index: int
    world_size: int
    device: torch.device

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as it takes part in gradient averaging."""

    def gather(self, row: Tensor) -> Tensor:
        """Rows of all ranks, stacked; every rank calls it."""

    def latest_checkpoint(self) -> AbstractContextManager[Path | None]:
        """The newest checkpoint as a local folder, None at the start of a run."""

    def publish(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep a checkpoint that `write` puts into a new folder (called on rank 0); every rank calls it."""

    def record(self, record: Record) -> None:
        """Take note of losses (called on rank 0)."""

    def sample(self, step: int, networks: Networks) -> None:
        """Draw a sample grid (called on rank 0)."""


def train_rank(
    experiment: Experiment,
    dataset: PairDataset,
    rank: Rank,
    origin: Origin,
    *,
    perceptual: PerceptualLoss | None = None,
    stop_after: int | None = None,
) -> Progress:
    """Train to `schedule.steps` (or `stop_after`) from the newest checkpoint, or from the start.

    Raises TrainingDiverged when a recorded loss is not finite; checkpoints before that stay as they are.
    """
    schedule = experiment.schedule
    networks = Networks.create(experiment, rank.device)
    torch.manual_seed(hash64(schedule.seed, rank.index) >> 1)
    first = 0
    with rank.latest_checkpoint() as folder:
        if folder:
            found = restore_checkpoint(folder, networks, rank.index)
            require_same_run(folder, found, experiment, origin, rank.world_size)
            first = found.step
    step_once = TrainingStep(
        networks, perceptual, experiment.loss, precision=schedule.precision, wrap=rank.wrap
    )
    if rank.world_size > 1:
        settle_gradient_buckets(step_once, experiment)
    last = max(first, min(schedule.steps, stop_after or schedule.steps))
    sampler = PairSampler(dataset.n_frames, seed=schedule.seed, rank=rank.index, world_size=rank.world_size)
    meter = _Meter(experiment)
    batches = timed(load_batches(dataset, sampler, experiment, rank, first), meter.waited)
    for step, (source, driving) in zip(range(first + 1, last + 1), batches, strict=False):
        meter.add(step_once(source, driving))
        if step % schedule.log_every == 0 or step == last:
            record = meter.take(step, rank)
            require_finite(record.losses, step)
            if rank.index == 0:
                rank.record(record)
        if rank.index == 0 and (step % schedule.sample_every == 0 or step == last):
            rank.sample(step, networks)
        if step % schedule.checkpoint_every == 0 or step == last:
            _checkpoint(rank, networks, _progress(experiment, rank, origin, len(dataset), step))
    return _progress(experiment, rank, origin, len(dataset), last)


def load_batches(
    dataset: PairDataset, sampler: PairSampler, experiment: Experiment, rank: Rank, first_step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (source, driving), each (b,3,H,W) in [-1, 1] on the rank's device, from step `first_step` on."""
    keys = sampler.batches(experiment.schedule.batch_per_worker, start=first_step)
    loader = torch.utils.data.DataLoader(
        _KeyedPairs(dataset),
        batch_sampler=keys,
        num_workers=experiment.data.loader_workers,
        collate_fn=_collate,
        pin_memory=rank.device.type == "cuda",
        generator=torch.Generator(),  # left out, the loader would draw its seed from the training's own
        persistent_workers=experiment.data.loader_workers > 0,
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
    size, count = experiment.model.image_size, experiment.schedule.batch_per_worker
    parameter = next(step.generator.parameters())
    images = torch.zeros(count, 3, size, size, device=parameter.device)
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
    """Sums losses on the device and reads them only when a record is due."""

    def __init__(self, experiment: Experiment) -> None:
        self.schedule = experiment.schedule
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.waiting = 0.0
        self.start = time.perf_counter()

    def waited(self, seconds: float) -> None:
        self.waiting += seconds

    def add(self, terms: dict[str, Tensor]) -> None:
        self.count += 1
        for name, term in terms.items():
            self.sums[name] = self.sums[name] + term if name in self.sums else term.double()

    def take(self, step: int, rank: Rank) -> Record:
        """The record since the last one, averaged over ranks; every rank calls it and gets the same losses."""
        means = torch.stack(list(self.sums.values())) / self.count
        losses = dict(zip(self.sums, rank.gather(means).mean(0).tolist(), strict=True))
        elapsed = time.perf_counter() - self.start
        record = Record(
            step=step,
            steps=self.schedule.steps,
            losses=losses,
            pairs_per_second=self.count * self.schedule.batch_size / elapsed,
            data_wait=self.waiting / elapsed,
        )
        self._reset()
        return record


def _progress(experiment: Experiment, rank: Rank, origin: Origin, clips: int, step: int) -> Progress:
    pairs_seen = step * experiment.schedule.batch_size
    return Progress(
        step=step,
        pairs_seen=pairs_seen,
        epoch=pairs_seen // clips,
        config=configuration.to_dict(experiment),
        dataset_digest=origin.dataset_digest,
        world_size=rank.world_size,
        provenance=origin.provenance,
    )


def _checkpoint(rank: Rank, networks: Networks, progress: Progress) -> None:
    require_finite_weights(networks, progress.step)
    rng_states = rank.gather(torch.get_rng_state())
    rank.publish(progress.step, lambda folder: save_checkpoint(folder, networks, progress, rng_states))
