"""How far a training is, from its folder and from its run in MLflow; either is enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.training.run_folder import RunFolder
from tracking.errors import TrackingError
from tracking.recorder import unsent_metrics
from tracking.run import Latest, Run, RunFacts, running

LOSS, VALIDATION, SPEED = "loss/", "validation/", "speed/"


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """A training at one moment."""

    name: str
    experiment: str
    state: str
    """running, finished, failed, killed; not finished where only the folder can be read."""
    step: int
    steps: int
    batch_size: int
    checkpoint: int | None
    """Step of the newest checkpoint."""
    losses: Mapping[str, float]
    validation: Mapping[str, float]
    speed: Mapping[str, float]
    """pairs_per_second, data_wait, workers."""
    recorded_at: float | None
    """When the last losses were, in seconds since 1970."""
    note: str = ""
    """What could not be read."""

    @property
    def seconds_left(self) -> float | None:
        """At the speed of the last record; None where it is over or unknown."""
        speed = self.speed.get("pairs_per_second", 0.0)
        if self.state == "finished" or not speed > 0:
            return None
        return (self.steps - self.step) * self.batch_size / speed


def read_training(path: Path) -> TrainingProgress:
    """The run in a folder. Raises RunFolderError where that is damaged."""
    folder = RunFolder(path)
    experiment, record = folder.open()
    facts, note = None, ""
    try:
        facts = Run.attach(record.run_id, tracking_uri=record.tracking_uri).facts()
    except TrackingError as error:
        note = f"its losses are not at hand: {error}"
    finished = folder.read_json("finished.json").get("step")
    steps = folder.checkpoint_steps()
    return progress_of(
        name=str(path),
        experiment=experiment.name,
        steps=experiment.schedule.steps,
        batch_size=experiment.schedule.batch_size,
        facts=facts,
        unsent=unsent_metrics(folder.unsent),
        finished=finished if isinstance(finished, int) else None,
        checkpoint=steps[-1] if steps else None,
        note=note,
    )


def read_recorded(tracking_uri: str, without: set[str]) -> list[TrainingProgress]:
    """Trainings that MLflow has as running, but for those runs that were shown already. Raises TrackingError."""
    found = []
    for run_id in running(tracking_uri=tracking_uri):
        if run_id in without:
            continue
        run = Run.attach(run_id, tracking_uri=tracking_uri)
        facts = run.facts()
        if steps := facts.params.get("schedule.steps"):
            found.append(
                progress_of(
                    name=f"{run.name} in MLflow",
                    experiment=facts.params.get("name", ""),
                    steps=int(steps),
                    batch_size=int(facts.params.get("schedule.batch_size", 0)),
                    facts=facts,
                )
            )
    return found


def progress_of(
    *,
    name: str,
    experiment: str,
    steps: int,
    batch_size: int,
    facts: RunFacts | None,
    unsent: Mapping[str, Latest] | None = None,
    finished: int | None = None,
    checkpoint: int | None = None,
    note: str = "",
) -> TrainingProgress:
    """Put together what is known; of a metric that was not sent yet the later value counts."""
    metrics = dict(facts.metrics) if facts else {}
    for key, waiting in (unsent or {}).items():
        if key not in metrics or (waiting.at_ms, waiting.step) > (metrics[key].at_ms, metrics[key].step):
            metrics[key] = waiting
    records = [latest for key, latest in metrics.items() if key.startswith((LOSS, SPEED))]
    newest = max(records, key=lambda latest: latest.at_ms, default=None)
    known = [finished, newest.step if newest else None, checkpoint]
    return TrainingProgress(
        name=name,
        experiment=experiment,
        state="finished" if finished is not None else facts.status.lower() if facts else "not finished",
        step=next((step for step in known if step is not None), 0),
        steps=steps,
        batch_size=batch_size,
        checkpoint=checkpoint,
        losses=_under(LOSS, metrics),
        validation=_under(VALIDATION, metrics),
        speed=_under(SPEED, metrics),
        recorded_at=newest.at_ms / 1000 if newest else None,
        note=note,
    )


def _under(prefix: str, metrics: Mapping[str, Latest]) -> dict[str, float]:
    return {
        key.removeprefix(prefix): latest.value for key, latest in metrics.items() if key.startswith(prefix)
    }
