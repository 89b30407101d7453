"""One trial of a sweep, as Ray Tune runs it: the ordinary training, in a thread, with its validations told one by one.

Its run in MLflow is the driver's, see `trial_runs`, which hears all that the training tells.

The process is kept from trial to trial: starting one takes longer than many a small step. A trial with one worker is
trained in it; one with more starts workers of its own, as `lia train` does.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from lia_model.weights import WeightsError
from orchestration.configuration import ConfigurationError
from orchestration.errors import WorkFailedError
from orchestration.evaluation.metrics import BASELINE
from orchestration.sweep.clip_scores import mean_scores
from orchestration.sweep.objectives import COPIED, EVALUATED, VALIDATED, groups_of, missed_by
from orchestration.sweep.plan import SweepFolder, SweepPlan
from orchestration.sweep.search import FAILED, HINDERED, REFUSED, VALIDATION, Refusal
from orchestration.sweep.study import SECONDS
from orchestration.training import recorded_training
from orchestration.training.checkpoint import read_state
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.loop import Record
from orchestration.training.message_board import Board
from orchestration.training.ray_rank import Message, Trained, Validated
from orchestration.training.run_folder import RunFolder
from orchestration.training.step import TrainingDiverged
from orchestration.training.train import Placement
from pipelines.errors import InputError, StorageError, TransientError

RECORD_SECONDS = 2.0
"""How often a trial tells how far it is; validations are told each."""


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What all trials of a sweep have in common."""

    plan: SweepPlan
    folder: str
    """The sweep's, absolute; it means the same on every node."""
    placement: Placement
    board: Board
    """The sweep's: hears (number, message) of each trial."""


class TrialRecords:
    """What one trial tells goes to the sweep's board."""

    def __init__(self, number: int, board: Board) -> None:
        self._number, self._board = number, board

    def take(self, message: Message) -> None:
        self._board.post((self._number, message))

    def settle(self) -> None:
        self._board.settle()


class SweepTrial(tune.Trainable):
    """A training that tells its validations and waits for the verdict on each."""

    def setup(  # type: ignore[override]  # tune.with_parameters adds the last two
        self, config: dict[str, Any], job: TrialJob, weights: Mapping[str, bytes]
    ) -> None:
        """Begin, or go on with, the trial of this number."""
        self._job, self._weights = job, weights
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """What the training tells next: how far it is, a validation, its end. To be asked again is to go on."""
        with self._changed:
            if not self._told:  # what was told last has been heard
                self._verdict_due = False
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._told or self._error is not None)
            if not self._told:
                raise self._error or RuntimeError("the trial ended without a word")
            return self._told.popleft()

    def cleanup(self) -> None:
        """End after the step that the training is at."""
        with self._changed:
            self._stopping, self._verdict_due = True, False
            self._changed.notify_all()
        self._thread.join()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, in this process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._changed = threading.Condition()
        self._told: deque[dict[str, Any]] = deque()
        self._stopping = self._verdict_due = False
        self._recorded_at = -math.inf
        self._seconds, self._step = 0.0, 0
        self._error: BaseException | None = None
        arguments = (int(config["number"]), config[REFUSED])
        self._thread = threading.Thread(target=self._work, args=arguments, daemon=True, name="trial")
        self._thread.start()

    def _work(self, number: int, refused: Refusal | None) -> None:
        try:
            self._tell(
                self._failed(number, refused.why, hindered=refused.hindered)
                if refused
                else self._train(number)
            )
        except TransientError as error:
            self._give_up(error)  # Ray Tune begins it again
        except TrainingDiverged as error:
            self._step = error.step
            self._tell(self._failed(number, str(error)))
        except (WorkFailedError, ConfigurationError) as error:
            self._tell(self._failed(number, str(error)))
        except (InputError, WeightsError, StorageError) as error:
            self._tell(self._failed(number, str(error), hindered=True))
        except BaseException as error:  # noqa: BLE001 - raised where Ray Tune hears of it
            self._give_up(error)

    def _train(self, number: int) -> dict[str, Any]:
        job, plan = self._job, self._job.plan
        run_folder = self._run_folder(number)
        self._batch_size = run_folder.open()[0].schedule.batch_size
        records = TrialRecords(number, job.board)
        step = recorded_training.train_on(run_folder, records, placement=job.placement, watch=self._watch)
        if run_folder.finished_step() is None:
            return {"done": True}  # which nobody hears: the trial, or the sweep, was stopped
        scores, why = validated_scores(run_folder), None
        try:
            scores |= evaluated_scores(run_folder, plan, self._weights)
        except NothingFound as error:
            why = str(error)
        return {
            "training_iteration": step,
            "done": True,
            SECONDS: self._seconds,
            **{f"validated/{name}": score for name, score in scores.items()},
            **({FAILED: why} if why else {f"score/{name}": scores[name] for name in plan.objectives}),
        }

    def _run_folder(self, number: int) -> RunFolder:
        return SweepFolder(Path(self._job.folder)).trial(number)

    def _failed(self, number: int, why: str, *, hindered: bool = False) -> dict[str, Any]:
        why = why.removeprefix(f"{self._run_folder(number).path}: ")  # the trial is named beside its reason
        return {"training_iteration": self._step, FAILED: why, HINDERED: hindered, "done": True}

    def _watch(self, message: Message) -> bool:
        if isinstance(message, Record | Validated | Trained):
            self._step = message.step
        if isinstance(message, Trained):
            self._seconds = message.seconds
        elif isinstance(message, Validated):
            self._tell(validation(message), wait=True)
        elif isinstance(message, Record) and time.monotonic() - self._recorded_at >= RECORD_SECONDS:
            self._recorded_at = time.monotonic()
            self._tell(progress(message, self._batch_size))
        return not self._stopping

    def _tell(self, result: dict[str, Any], *, wait: bool = False) -> None:
        with self._changed:
            self._told.append(result)
            self._verdict_due = self._verdict_due or wait
            self._changed.notify_all()
            if wait:
                self._changed.wait_for(lambda: self._stopping or not self._verdict_due)

    def _give_up(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()


def validation(message: Validated) -> dict[str, Any]:
    """A validation as a result of the trial."""
    scores = {f"validated/{name}": score for name, score in message.scores.items()}
    return {"training_iteration": message.step, VALIDATION: True, SECONDS: message.seconds, **scores}


def progress(record: Record, batch_size: int) -> dict[str, Any]:
    """Where a trial is, as a result of it."""
    left = (record.steps - record.step) * batch_size / record.pairs_per_second
    return {"training_iteration": record.step, "seconds_left": left}


class NothingFound(InputError):
    """In the images that a trial makes there is nothing to compare."""


def validated_scores(folder: RunFolder) -> dict[str, float]:
    """Of the last checkpoint, which every training ends with."""
    checkpoints = CheckpointStore(folder.checkpoints)
    newest = checkpoints.newest_sound()
    if newest is None:
        raise InputError(f"{folder.checkpoints}: the trial's last checkpoint is gone")
    scores = read_state(checkpoints.path(newest))[0].validation
    return {name: scores[name] for name in (*VALIDATED, *COPIED.values()) if name in scores}


def evaluated_scores(folder: RunFolder, plan: SweepPlan, weights: Mapping[str, bytes]) -> dict[str, float]:
    """Objectives that are metrics of `lia evaluate`, over held-out clips, with what they leave out and the baseline's.

    Raises NothingFound.
    """
    wanted = [name for name in plan.objectives if name in EVALUATED]
    if not wanted:
        return {}
    scores = mean_scores(folder.model, plan, groups_of(plan.objectives), weights)
    for name in wanted:
        if name not in scores:
            raise NothingFound(
                f"{name}: in the images that the model makes of the held-out clips, nothing was found to compare: it "
                "is trained too little, or the images are too small for the detector"
            )
    missed = missed_by(wanted)
    return {
        name: value
        for name, value in scores.items()
        if name.removeprefix(BASELINE) in wanted or name in missed
    }
