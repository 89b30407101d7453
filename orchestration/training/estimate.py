"""What a training run will take, told before it starts: parameters, memory, arithmetic, traffic, time and disk.

Nothing is written, and neither Ray nor MLflow is started. Sizes come from a step on fake tensors, speed from a few real
steps on this machine.
"""

from dataclasses import dataclass

from orchestration.experiment import Experiment
from orchestration.training.measured_step import MeasuredStep, Place, measure_step, this_machine
from orchestration.training.simulated_step import SimulatedStep, simulate_step
from pipelines.dataset.clip_index import count_clips
from pipelines.dataset.pairs import PairDataset
from pipelines.storage.location import Location

MEASURING_SECONDS = 60.0
# Beside the newest checkpoints there may be the best one, and the one that is being written.
_MORE_CHECKPOINTS = 2


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """What a dataset offers to a run."""

    size: int
    clips: int
    frames: int
    held_out_clips: int

    def epochs(self, experiment: Experiment) -> float:
        """How often the run sees every clip."""
        return experiment.schedule.steps * experiment.schedule.batch_size / self.clips


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """All that a dry run finds out."""

    experiment: Experiment
    step: SimulatedStep
    place: Place
    measured: MeasuredStep | str
    """Or why nothing was measured."""
    data: DataSize | None

    @property
    def fits(self) -> bool:
        """Whether the workers that share the device's memory fit into it."""
        return self.step.peak * self.place.workers <= self.place.memory

    @property
    def step_seconds(self) -> float | None:
        """Of a whole step of a worker, gradient averaging and waiting for data not included."""
        if isinstance(self.measured, str):
            return None
        schedule = self.experiment.schedule
        return self.measured.seconds / self.measured.pairs * schedule.batch_size / schedule.workers

    @property
    def sent_bytes(self) -> int:
        """What each worker sends in a step, and receives as well."""
        return ring_all_reduce_bytes(self.step.gradient_bytes, self.experiment.schedule.workers)

    @property
    def checkpoint_bytes(self) -> int:
        """Of one checkpoint: weights, their average, Adam's moments."""
        weights = sum(network.parameters for network in self.step.networks) * 4
        return weights + self.step.average_bytes + self.step.optimiser_bytes

    @property
    def disk_bytes(self) -> int:
        """Of all checkpoints there can be at once."""
        return self.checkpoint_bytes * (self.experiment.schedule.keep_checkpoints + _MORE_CHECKPOINTS)


def estimate(
    experiment: Experiment, dataset: Location | None = None, *, seconds: float | None = None
) -> Estimate:
    """Find out what training the experiment takes; measures real steps for about `seconds` (a minute).

    Raises DatasetError where the dataset cannot be read.
    """
    data = data_size(dataset) if dataset is not None else None
    step = simulate_step(experiment)
    place = this_machine(experiment)
    return Estimate(
        experiment=experiment,
        step=step,
        place=place,
        measured=measure_step(experiment, place, needed=step.peak, seconds=seconds or MEASURING_SECONDS),
        data=data,
    )


def ring_all_reduce_bytes(gradient_bytes: int, workers: int) -> int:
    """What each of the workers sends, and receives, to sum gradients in a ring: 2 (n - 1) / n times their size.

    In n - 1 turns everybody passes on a share of 1 / n to be added up, and in n - 1 more the sums go round.
    """
    return round(2 * (workers - 1) / workers * gradient_bytes)


def data_size(dataset: Location) -> DataSize:
    """What the dataset holds. Raises DatasetError."""
    opened = PairDataset(dataset, "train")
    return DataSize(
        size=opened.size,
        clips=len(opened),
        frames=int(opened.n_frames.sum()),
        held_out_clips=count_clips(dataset).get("test", 0),
    )
