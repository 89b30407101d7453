"""A sweep that trains nothing: its plan, and studies whose trials are told by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from orchestration import configuration
from orchestration.experiment import Experiment
from orchestration.recipes import demo
from orchestration.sweep.objectives import directions
from orchestration.sweep.plan import SweepPlan
from orchestration.sweep.space import read_space

STEPS, GRACE = 90, 10
SPACE = ("model.motion_dim=3,5", "optimiser.lr=log:1e-4:1e-2")


def small_experiment() -> Experiment:
    base = demo()
    return replace(base, schedule=replace(base.schedule, steps=STEPS, workers=1))


def small_plan(**changes: Any) -> SweepPlan:
    """Two fields and 90 steps; nothing is stopped, proposals are random."""
    plan = SweepPlan(
        name="s",
        base=configuration.to_dict(small_experiment()),
        space=SPACE,
        objectives=("l1",),
        trials=6,
        seed=0,
        sampler="random",
        pruner="none",
        grace=GRACE,
        clips=0,
        concurrent=0,
        dataset="/data",
        dataset_digest="d",
        vgg=None,
        perceptual_sha256=None,
        storage=None,
        tracking_uri="sqlite:////nowhere/mlflow.db",
        run_id="parent",
    )
    return replace(plan, **changes)


def distributions_of(plan: SweepPlan) -> dict[str, BaseDistribution]:
    """Those of the plan's space, which is tried on the experiment once for all tests."""
    return _distributions(plan.space)


@cache
def _distributions(space: tuple[str, ...]) -> dict[str, BaseDistribution]:
    return read_space(space, small_experiment()).distributions()


def told(
    plan: SweepPlan,
    number: int,
    params: Mapping[str, Any],
    values: Sequence[float] | None = None,
    state: TrialState = TrialState.COMPLETE,
    steps: Mapping[int, float] | None = None,
    **attributes: Any,
) -> FrozenTrial:
    """A trial that ended, as a study keeps it."""
    distributions = distributions_of(plan)
    trial = optuna.trial.create_trial(
        state=state,
        values=values,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        intermediate_values=dict(steps or {}),
        user_attrs=attributes,
    )
    trial.number = number
    return trial


def study_of(plan: SweepPlan, *trials: FrozenTrial, pruner: BasePruner | None = None) -> Study:
    """A study in memory that holds these trials."""
    study = optuna.create_study(directions=directions(plan.objectives), pruner=pruner)
    for trial in trials:
        study.add_trial(trial)
    return study
