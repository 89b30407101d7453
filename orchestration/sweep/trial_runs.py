"""The runs of a sweep's trials in MLflow: the driver begins them, records what trials tell, and ends them."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lia_model.weights import WeightsError
from orchestration.configuration import ConfigurationError
from orchestration.experiment import Experiment
from orchestration.sweep import study as studies
from orchestration.sweep.plan import TAG, SweepFolder, SweepPlan
from orchestration.sweep.search import Refusal
from orchestration.sweep.space import apply
from orchestration.training import recorded_training
from orchestration.training.ray_rank import Message
from orchestration.training.records import RunRecords, say
from pipelines.errors import InputError, StorageError, TransientError
from pipelines.storage.location import parse_location
from tracking.errors import TrackingError
from tracking.run import Run, Status

RETRY_SECONDS = 5.0
"""Between two attempts to begin a trial's run while a server is away."""
STATUSES: Mapping[TrialState, Status] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAIL: "FAILED",
}


class TrialRuns:
    """Runs of trials by their numbers. Ray Tune's thread begins and ends them, another brings what trials tell."""

    def __init__(self, folder: SweepFolder, plan: SweepPlan) -> None:
        self._folder, self._plan = folder, plan
        self._records: dict[int, RunRecords] = {}
        self._unended: list[FrozenTrial] = []
        self._over: list[int] = []
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Ray Tune pickles all that hangs on its tuner, to begin it again one day: the study does that instead.
        return {}

    def begin(self, number: int, fields: Mapping[str, Any]) -> Refusal | None:
        """Open the trial's run, a new one or that of a trial to go on with, or refuse to.

        Waits for a server that is away: trials that are proposed meanwhile would all fail.
        """
        said = ""
        while True:
            try:
                self._open(number, fields)
                return None
            except (TrackingError, TransientError) as error:
                if str(error) != said:
                    said = str(error)
                    say(f"trial {number} waits: {error}")
                time.sleep(RETRY_SECONDS)
            except ConfigurationError as error:
                return Refusal(str(error), hindered=False)  # of this trial's values
            except (InputError, WeightsError, StorageError, OSError) as error:
                folder = self._folder.trial(number).path
                return Refusal(str(error).removeprefix(f"{folder}: "), hindered=True)

    def take(self, number: int, message: Message) -> None:
        """Record what a trial tells; one that ended has nothing more to say."""
        with self._lock:
            records = self._records.get(number)
        if records is not None:
            records.take(message)

    def end(self, trial: FrozenTrial, heard: Callable[[], object] = lambda: None) -> None:
        """Note with the trial's run how it ended. `heard` returns when all that it told has been taken."""
        heard()
        with self._lock:
            records = self._records.pop(trial.number, None)
        try:
            self._end(trial)
        except TrackingError as error:
            say(f"trial {trial.number}: how it ended is not recorded yet: {error}")
            self._unended.append(trial)
        if records is not None:
            records.close()
        if trial.state is not TrialState.FAIL:  # a failed one's last checkpoint may tell why
            self._over.append(trial.number)
        self.clear_checkpoints()

    def clear_checkpoints(self) -> None:
        """Remove those of trials that are over; a stopped one may write its last after that, so this is done again."""
        for number in self._over:
            shutil.rmtree(self._folder.trial(number).checkpoints, ignore_errors=True)

    def go_over(self, ended: list[FrozenTrial], replaced: Iterable[int] = ()) -> None:
        """End what a killed driver had no time to end: such a trial's folder still has a place for records.

        Checkpoints of trials that are `replaced` by others go.
        """
        self._over += replaced
        for trial in ended:
            run_folder = self._folder.trial(trial.number)
            if run_folder.exists() and run_folder.unsent.exists():
                self._records[trial.number] = RunRecords(
                    run_folder, run_folder.record(), _saying(trial.number)
                )
                self.end(trial)

    def close(self) -> None:
        """The sweep is over, or broken off: try again what could not be recorded, end what trials left open."""
        unended, self._unended = self._unended, []
        for trial in unended:
            self.end(trial)
        for number, records in self._records.items():
            records.close()
            try:
                self._run(number).end("KILLED")
            except TrackingError as error:
                say(f"trial {number}: that it was broken off is not recorded: {error}")
        self._records.clear()

    def _open(self, number: int, fields: Mapping[str, Any]) -> None:
        plan, run_folder = self._plan, self._folder.trial(number)
        experiment = apply(plan.experiment(), fields)
        if run_folder.exists():
            recorded_training.require_unchanged(run_folder)
            Run.resume(run_folder.record().run_id, tracking_uri=plan.tracking_uri)
        else:
            shutil.rmtree(run_folder.path, ignore_errors=True)  # of a driver killed before there was a run
            recorded_training.begin(
                experiment,
                parse_location(plan.dataset),
                run_folder,
                vgg=Path(plan.vgg) if plan.vgg and needs_vgg19(experiment) else None,
                tracking_uri=plan.tracking_uri,
                tags=trial_tags(plan, number, fields),
            )
        records = RunRecords(run_folder, run_folder.record(), _saying(number))
        with self._lock:
            self._records[number] = records

    def _end(self, trial: FrozenTrial) -> None:
        if not self._folder.trial(trial.number).exists():
            return
        run = self._run(trial.number)
        if trial.state is TrialState.COMPLETE:
            scores = zip(self._plan.objectives, trial.values, strict=True)
            run.log_metrics(
                {f"sweep/{name}": score for name, score in scores}, step=self._plan.steps(trial.params)
            )
        run.set_tags(
            {
                f"{TAG}.state": trial.state.name.lower(),
                f"{TAG}.failure": trial.user_attrs.get(studies.FAILURE),
            }
        )
        run.end(STATUSES[trial.state])

    def _run(self, number: int) -> Run:
        return Run.attach(self._folder.trial(number).record().run_id, tracking_uri=self._plan.tracking_uri)


def _saying(number: int) -> Callable[[str], None]:
    return lambda message: say(f"trial {number}: {message}")


def trial_tags(plan: SweepPlan, number: int, fields: Mapping[str, Any]) -> dict[str, str]:
    """Tags of a trial's run: MLflow shows it below its sweep's."""
    return {
        "mlflow.parentRunId": plan.run_id,
        f"{TAG}.name": plan.name,
        f"{TAG}.trial": str(number),
        f"{TAG}.fields": json.dumps(dict(fields)),
    }


def needs_vgg19(experiment: Experiment) -> bool:
    """Whether a trial's loss reads the file of --vgg: with lambda 0 or other features, it does not."""
    return experiment.loss.uses_perceptual and experiment.loss.perceptual_features == "vgg19"
