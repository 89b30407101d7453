"""The batches that one rank trains on, of a dataset that is whole or still grows."""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from lia_model.pixels import to_float
from orchestration.experiment import Experiment
from orchestration.training.augmentation import augment
from pipelines.dataset.editions import WHOLE, GrowingDataset
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.sampler import PairKey, PairSampler
from pipelines.errors import DatasetError, StorageError

_UNSEEN = -1


class Reader(Protocol):
    """The rank that a feed is for."""

    index: int
    world_size: int
    device: torch.device

    def gather(self, row: Tensor) -> Tensor:
        """Rows of all ranks, stacked; every rank calls it."""


class Feed:
    """Batches (source, driving), each (b,3,H,W) in [-1, 1] on the rank's device, one a step.

    A step's batch depends on its number and on the edition of the dataset, which changes only in `grow`.
    """

    def __init__(
        self,
        dataset: PairDataset | GrowingDataset,
        experiment: Experiment,
        rank: Reader,
        *,
        step: int,
        edition: int | None,
        waited: Callable[[float], None],
    ) -> None:
        """From after `step` on, of that edition (the newest, if None) where the dataset grows; every rank calls it.

        `waited` is told the seconds that each batch took to come.
        """
        self._experiment, self._rank, self._waited = experiment, rank, waited
        self._growing = dataset if isinstance(dataset, GrowingDataset) else None
        self.edition = WHOLE
        if isinstance(dataset, GrowingDataset):
            self.edition = self._newest(dataset) if edition is None else edition
            dataset = dataset.open(self.edition)
        self._begin(dataset, step)

    @property
    def grows(self) -> bool:
        """Whether more clips may come."""
        return self._growing is not None and self.edition != WHOLE

    @property
    def clips(self) -> int:
        """How many there are to train on."""
        return len(self._dataset)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        start = time.perf_counter()
        batch = next(self._batches)
        self._waited(time.perf_counter() - start)
        return batch

    def grow(self, step: int) -> bool:
        """Go on after `step` with the newest edition; whether that is another one. Every rank calls it."""
        if self._growing is None or not self.grows:
            return False
        newest = self._newest(self._growing, otherwise=self.edition)
        if newest == self.edition:
            return False
        self.edition = newest
        self._begin(self._growing.open(newest), step)
        return True

    def _begin(self, dataset: PairDataset, step: int) -> None:
        rank, seed = self._rank, self._experiment.schedule.seed
        sampler = PairSampler(dataset.n_frames, seed=seed, rank=rank.index, world_size=rank.world_size)
        self._dataset = dataset
        self._batches = _load_batches(dataset, sampler, self._experiment, rank.device, step)

    def _newest(self, growing: GrowingDataset, otherwise: int | None = None) -> int:
        """The newest edition as rank 0 sees it; `otherwise` where it does not, or an error if that is None."""
        found, failure = WHOLE, None
        if self._rank.index == 0:
            try:
                found = growing.newest()
            except (DatasetError, StorageError) as error:  # the other ranks are waiting to hear of it
                found, failure = _UNSEEN if otherwise is None else otherwise, error
        newest = int(self._rank.gather(torch.tensor([found]))[0])
        if newest != _UNSEEN:
            return newest
        raise failure or StorageError(f"{growing.root}: rank 0 could not see what is published of it")


def _load_batches(
    dataset: PairDataset, sampler: PairSampler, experiment: Experiment, device: torch.device, step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    loader = torch.utils.data.DataLoader(
        _KeyedPairs(dataset),
        batch_sampler=sampler.batches(experiment.schedule.batch_size, start=step),
        num_workers=experiment.data.loader_workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # left out, the loader would draw its seed from the training's own
    )
    for batch_keys, frames_BPHWC in loader:
        pairs = to_float(frames_BPHWC.to(device, non_blocking=True))
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
