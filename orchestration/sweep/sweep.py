"""Running a sweep: begin or go on, run the trials, keep what was found."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from ray import tune

from orchestration.cluster import connected
from orchestration.errors import WorkFailedError
from orchestration.evaluation.instruments import read_weights
from orchestration.registration import Registration
from orchestration.sweep import study as studies
from orchestration.sweep.findings import REPORT, Findings
from orchestration.sweep.forecast import forecast
from orchestration.sweep.live_table import LiveTable, TrialTable
from orchestration.sweep.objectives import groups_of
from orchestration.sweep.plan import TAG, SweepFolder, SweepPlan
from orchestration.sweep.search import MAX_FAILURES, Pruning, StudySearch
from orchestration.sweep.slots import Slots, find_slots
from orchestration.sweep.trial import SweepTrial, TrialJob
from orchestration.sweep.trial_runs import TrialRuns
from orchestration.training.message_board import Board, watched
from tracking.run import Run

# Ray Tune would show tables and write logs of its own, take Ctrl-C for a wish to end trials one by one, and go to a
# folder of the trial's.
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


MOST_HINDERED = 3
"""Trials in a row that are hindered, by what would hinder all others, too."""


class SweepFailed(WorkFailedError):
    """No trial came to an end with a score."""


class SweepHindered(WorkFailedError):
    """Trials in a row could not be trained, for reasons outside them."""


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a finished sweep leaves."""

    folder: SweepFolder
    findings: Findings
    winner: Registration
    seconds: float
    """This driver's trials took, from the first one's start to the last one's end."""
    trained: float
    """Share of the places' time in those seconds in which trials were training."""

    def closing_words(self) -> str:
        """Tables, where everything is, and how to look at it."""
        lines = ["", self.findings.text(), ""]
        if self.seconds:
            lines.append(
                f"training took {self.trained:.1%} of the time of the places for trials over {self.seconds:.0f} s; the "
                "rest is starting, loading, evaluating and waiting for the last trial"
            )
        if hindered := studies.hindered(self.findings.study):
            lines.append(
                f"{len(hindered)} of the trials failed for reasons outside them, the last one: "
                f"{hindered[-1].user_attrs[studies.FAILURE]}. `{self.folder.resume_command()}` tries them again"
            )
        lines += [
            f"winner     {self.winner.words()}",
            f"report     {self.folder.path / REPORT}",
            f"pictures   {self.folder.pictures}",
            *(f"           without {picture}: {why}" for picture, why in self.findings.left_out().items()),
        ]
        return "\n".join(lines)


def begin_sweep(folder: SweepFolder, plan: SweepPlan) -> SweepPlan:
    """Create the sweep's run in MLflow and its folder; returns the plan with the run. Raises InputError."""
    folder.require_new()
    folder.make()  # first: a run in MLflow cannot be taken back
    base = plan.experiment()
    run = Run.start(
        base.name,
        name=plan.name,
        tags={f"{TAG}.name": plan.name, f"{TAG}.space": " ".join(plan.space)},
        tracking_uri=plan.tracking_uri,
    )
    asked = asdict(plan.without_credentials())
    run.log_config(
        {**plan.unswept(), "sweep": {k: v for k, v in asked.items() if k not in ("base", "run_id")}}
    )
    begun = replace(plan, run_id=run.run_id)
    folder.write(begun)
    return begun


def run_sweep(
    folder: SweepFolder,
    plan: SweepPlan,
    *,
    storage: str | None = None,
    price: float | None = None,
    verbose: bool = False,
) -> SweepResult:
    """Run the trials that are left, or go on with those that a killed driver left; then draw, report and register.

    The folder keeps the plan, which may have more trials than before. `storage` is the plan's with its password.
    Raises InputError, SweepHindered, and SweepFailed where no trial has a score.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    base, space = plan.experiment(), plan.read_space()
    with (
        folder.locked(),
        connected(at_least=base.schedule.workers, verbose=verbose) as resources,
        studies.open_study(folder, plan, storage) as study,
        _parent(plan) as parent,
    ):
        folder.write(plan)
        studies.try_again(study)
        remaining = plan.trials - len(studies.finished(study))
        began, before = time.perf_counter(), trained_seconds(study)
        slots = find_slots(base, resources, max(1, remaining), plan.concurrent)
        runs = TrialRuns(folder, plan)
        runs.go_over(studies.finished(study), studies.replaced(study))
        if remaining > 0:
            expected = forecast(
                base,
                space,
                slots,
                trials=remaining,
                machines=len(resources.nodes),
                done=plan.trials - remaining,
                objectives=plan.objectives,
                price=price,
            )
            print("\n".join(expected.lines()), flush=True)
            began = time.perf_counter()
            with closing(runs):
                _run_trials(folder, plan, study, slots, runs, remaining, verbose)
        seconds = time.perf_counter() - began
        findings = Findings.of(folder, plan, study)
        findings.keep(parent)
        if not findings.best:
            raise SweepFailed(
                f"{folder.path}: no trial has a score; {_first_failure(study)}; {REPORT} there has all trials"
            )
        winner = findings.register(parent)
        return SweepResult(
            folder=folder,
            findings=findings,
            winner=winner,
            seconds=seconds if remaining > 0 else 0.0,
            trained=(trained_seconds(study) - before) / (slots.count * seconds),
        )


def _run_trials(
    folder: SweepFolder,
    plan: SweepPlan,
    study: Study,
    slots: Slots,
    runs: TrialRuns,
    remaining: int,
    verbose: bool,
) -> None:
    plan = plan.without_credentials()  # Ray Tune writes down whatever it is given
    search = StudySearch(study, plan, plan.read_space(), studies.unfinished(study), runs.begin)
    table = TrialTable(plan)
    for trial in studies.finished(study):
        table.take(trial)
    live = LiveTable(table, search)
    state = folder.path / "ray"
    shutil.rmtree(state, ignore_errors=True)  # the study knows more
    logging.getLogger("ray.tune").setLevel(logging.INFO if verbose else logging.CRITICAL)
    with watched(lambda told: runs.take(*told)) as board:
        job = TrialJob(
            plan=plan,
            folder=str(folder.path.absolute()),
            placement=slots.placement,
            board=board,
        )
        trainable = tune.with_parameters(
            SweepTrial, job=job, weights=read_weights(groups_of(plan.objectives))
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, slots.reserved),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=Pruning(search),
                num_samples=remaining,
                max_concurrent_trials=slots.count,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(state.absolute()),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                # A trial's checkpoints are those of its training.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[_Ends(search, runs, board, folder.resume_command()), live],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        finally:
            live.close()
            runs.clear_checkpoints()
            shutil.rmtree(state, ignore_errors=True)


@contextmanager
def _parent(plan: SweepPlan) -> Iterator[Run]:
    """The sweep's own run in MLflow; it ends as the block does."""
    with Run.resume(plan.run_id, tracking_uri=plan.tracking_uri) as run:
        yield run


def trained_seconds(study: Study) -> float:
    """Sum over the trials that the study knows the time of."""
    return sum(float(trial.user_attrs.get(studies.SECONDS, 0.0)) for trial in studies.finished(study))


def _first_failure(study: Study) -> str:
    for trial in studies.finished(study):
        if trial.state is TrialState.FAIL:
            return f"trial {trial.number} failed: {trial.user_attrs.get(studies.FAILURE, 'nobody knows why')}"
    return "all were stopped early"


class _Ends(tune.Callback):
    """Records how each trial ended, and ends a sweep that only burns trials."""

    def __init__(self, search: StudySearch, runs: TrialRuns, board: Board, again: str) -> None:
        """`again` is the command that goes on with the sweep."""
        self.search, self.runs, self.board, self.again = search, runs, board, again
        self._trained = False
        self._hindered: list[str] = []

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Raise SweepHindered; from any other place Ray Tune would take it for a trial's own error."""
        if len(self._hindered) >= MOST_HINDERED:
            raise SweepHindered(
                f"{MOST_HINDERED} trials in a row could not be trained, the last one: {self._hindered[-1]}. Mend that; "
                f"`{self.again}` then tries them again and goes on"
            )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """With a score, stopped, or failed for a reason that beginning again would not change."""
        self._end(self.search.frozen(trial.trial_id))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process died, or failed, too often."""
        self._end(self.search.frozen(trial.trial_id))

    def _end(self, trial: FrozenTrial) -> None:
        self.runs.end(trial, self.board.settle)
        if not studies.was_hindered(trial):
            self._trained = True
            self._hindered.clear()
        # Once others were trained, what is tried again and fails again has a reason of its own.
        elif not (self._trained and studies.AGAIN in trial.user_attrs):
            self._hindered.append(str(trial.user_attrs[studies.FAILURE]))
