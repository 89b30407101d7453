"""Optuna within Ray Tune: proposing trials, stopping weak ones, telling the study how they ended."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from orchestration.sweep import study as studies
from orchestration.sweep.objectives import directions, pruned_by, pruning_sign
from orchestration.sweep.plan import SweepPlan
from orchestration.sweep.space import Space

MAX_FAILURES = 3
"""How often the process of a trial may die before the trial counts as failed."""
FAILED = "failed"
"""In a trial's last result: why there are no scores."""
HINDERED = "hindered"
"""In such a result: whether the reason lies outside the trial, so that others would fail, too."""
REFUSED = "refused"
"""In a trial's config: a Refusal, None as a rule."""
VALIDATION = "validation"
"""In a result: whether it comes with validated scores; others only tell how far a trial is."""


class Refusal(NamedTuple):
    """Why a trial cannot be trained."""

    why: str
    hindered: bool


class StudySearch(OptunaSearch):
    """Ray's OptunaSearch on a study that outlives the driver.

    As it comes, it counts a trial that was stopped as complete, does not know why one failed, and keeps its state in a
    pickle that lags behind. Here the study is the state: trials that a killed driver left are handed out first, under
    their numbers, and new ones are proposed as they would have been.
    """

    def __init__(
        self,
        study: Study,
        plan: SweepPlan,
        space: Space,
        left: Sequence[FrozenTrial] = (),
        begin: Callable[[int, Mapping[str, Any]], Refusal | None] = lambda number, fields: None,
    ) -> None:
        """`left` are the unfinished trials to go on with.

        `begin` prepares a trial of this number and these fields before it is handed out, or refuses to.
        """
        super().__init__(metric=list(plan.objectives))
        self.study = study
        self._plan = plan
        self._space = space.distributions()
        modes: Any = ["min" if way == "minimize" else "max" for way in directions(plan.objectives)]
        self._mode = modes
        self._ot_study: Any = study
        self._left = list(left)
        self._begin = begin
        self._told: set[str] = set()
        self._errors: dict[str, str] = {}
        self._validated: dict[str, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Ray Tune pickles all that hangs on its tuner, to begin it again one day: the study does that instead, and the
        # password in its address stays off the disk.
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next trial: its number and the fields to replace."""
        if self._left:
            self._ot_trials[trial_id] = optuna.Trial(self.study, self._left.pop(0)._trial_id)
        else:
            self.study.sampler = studies.sampler(self._plan, studies.proposed(self.study))
            super().suggest(trial_id)
        trial = self._ot_trials[trial_id]
        fields = dict(trial.params)
        return {"number": trial.number, "fields": fields, REFUSED: self._begin(trial.number, fields)}

    def prunes(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Note a validation; whether the trial is weak and thereby ends."""
        if trial_id in self._told:
            return True
        if not result.get(VALIDATION):
            return False
        self._validated[trial_id] = dict(result)
        if len(self._plan.objectives) > 1:
            return False  # Optuna knows no intermediate values of several objectives
        trial = self._ot_trials[trial_id]
        step = int(result["training_iteration"])
        # A trial that went on from a checkpoint passes the same validations again.
        if step in self._frozen(trial).intermediate_values:
            return False
        trial.report(self._signed(result), step)
        # At its last step a trial has nothing left to save, and a score to give.
        if step >= self._plan.steps(trial.params) or not trial.should_prune():
            return False
        self._note(trial_id, result)
        # At once: a driver killed in between would forget the verdict.
        self._tell(trial_id, state=TrialState.PRUNED)
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: `prunes` has noted it."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study: scores, or why there are none."""
        if trial_id in self._told:
            return
        if error:
            self.fail(trial_id, self._errors.get(trial_id, "nobody knows why"))
            return
        result = result or {}
        scores: dict[str, Any] = {name: result.get(f"score/{name}") for name in self._plan.objectives}
        if FAILED in result or None in scores.values():
            told = {name: value for name, value in result.items() if name != studies.STEP or value}
            self._validated[trial_id] = {**self._validated.get(trial_id, {}), **told}
            hindered = bool(result.get(HINDERED))
            self.fail(trial_id, str(result.get(FAILED, "ended without a score")), hindered=hindered)
        elif wild := [f"{name} = {score}" for name, score in scores.items() if not math.isfinite(score)]:
            self.fail(trial_id, f"its scores are no numbers to compare: {', '.join(wild)}")
        else:
            self._note(trial_id, result)
            self._tell(trial_id, [float(score) for score in scores.values()])

    def note_error(self, trial_id: str, reason: str) -> None:
        """What went wrong last, in case that Ray Tune gives the trial up."""
        self._errors[trial_id] = reason

    def fail(self, trial_id: str, reason: str, *, hindered: bool = False) -> None:
        """The trial ended without scores; what it was worth before is noted."""
        if trial_id in self._told or trial_id not in self._ot_trials:
            return
        self._note(trial_id, self._validated.get(trial_id, {}))
        self._ot_trials[trial_id].set_user_attr(studies.FAILURE, reason)
        if hindered:
            self._ot_trials[trial_id].set_user_attr(studies.HINDERED, True)
        self._tell(trial_id, state=TrialState.FAIL)

    def frozen(self, trial_id: str) -> FrozenTrial:
        """The trial as the study has it now."""
        return self._frozen(self._ot_trials[trial_id])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _note(self, trial_id: str, result: Mapping[str, Any]) -> None:
        trial = self._ot_trials[trial_id]
        for name, value in result.items():
            if name.startswith("validated/") or name in (studies.SECONDS, studies.STEP):
                trial.set_user_attr(name, value)

    def _tell(
        self, trial_id: str, values: list[float] | None = None, state: TrialState = TrialState.COMPLETE
    ) -> None:
        self.study.tell(self._ot_trials[trial_id], values, state=state)
        self._told.add(trial_id)

    def _signed(self, result: Mapping[str, Any]) -> float:
        """The score by which trials are stopped, such that better is on the objective's side."""
        objectives = self._plan.objectives
        return pruning_sign(objectives) * float(result[f"validated/{pruned_by(objectives)}"])


class Pruning(FIFOScheduler):
    """Ends the trials that the study's pruner ends, and hears why processes of trials die."""

    def __init__(self, search: StudySearch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop or go on."""
        if self.search.prunes(trial.trial_id, result):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The trial's process died: Ray Tune begins it again, or gives it up and tells the search."""
        self.search.note_error(
            trial.trial_id, f"begun {trial.num_failures} times: {last_error(Path(trial.error_file))}"
        )


def last_error(log: Path) -> str:
    """The last of the errors that Ray Tune wrote down for a trial, in a line."""
    text = log.read_text(encoding="utf-8", errors="replace").rpartition("Failure # ")[2]
    if "The actor died" in text or "actor is dead" in text:
        return "its process ended, or its machine"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nobody knows why"
