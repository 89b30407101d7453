"""How many trials run at once, and what each has of the cluster."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration.cluster import Resources, cpus_each, worker_share
from orchestration.experiment import Experiment
from pipelines.errors import InputError

if TYPE_CHECKING:
    from orchestration.training.train import Placement

ROUNDS = 4
"""Where processors could be shared by any number of trials, at least so many trials follow one another in a place: a
sampler learns from those before."""


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Places for trials."""

    count: int
    share: dict[str, float]
    """What each worker of a trial has."""
    workers: int
    """Of a trial."""

    @property
    def placement(self) -> "Placement":
        """A trial of one worker is trained in Ray Tune's own process for it."""
        from orchestration.training.train import Placement

        return Placement(share=self.share, here=self.workers == 1)

    @property
    def reserved(self) -> dict[str, float]:
        """What Ray Tune asks Ray for; workers apart from its process ask for themselves, and it for next to nothing."""
        return dict(self.share) if self.workers == 1 else {"memory": 1.0}


def find_slots(experiment: Experiment, resources: Resources, trials: int, concurrent: int = 0) -> Slots:
    """As many places as there are GPUs for, or a part of the trials on processors; or `concurrent`, if they fit.

    Raises InputError where they do not.
    """
    workers = experiment.schedule.workers
    resources = resources.for_work("train")
    share = worker_share(experiment, resources)
    on_gpus = "GPU" in share
    available = resources.gpus if on_gpus else resources.cpus
    most = max(1, available // workers)
    if concurrent > most:
        raise InputError(
            f"--concurrent {concurrent}: the cluster has {available} {'GPUs' if on_gpus else 'CPUs'}, for {most} "
            f"trials of {workers} workers each: give {most} or less, or set --schedule.workers"
        )
    count = min(trials, concurrent or (most if on_gpus else min(most, max(1, trials // ROUNDS))))
    if not on_gpus:
        share = {**share, "CPU": cpus_each(resources, count * workers)}
    return Slots(count=count, share=share, workers=workers)
