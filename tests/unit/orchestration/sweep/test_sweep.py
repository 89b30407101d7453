"""Running a sweep: what Ray Tune is given, which writes it down."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState
from ray import cloudpickle, tune

from orchestration.sweep import study as studies
from orchestration.sweep import sweep as module
from orchestration.sweep.slots import Slots
from orchestration.sweep.trial_runs import TrialRuns
from tests.small_study import small_plan, told


@pytest.fixture
def written(monkeypatch):
    """What Ray Tune's tuner.pkl would hold, of tuners that run nothing."""
    pickles = []

    class Tuner:
        def __init__(self, trainable, *, tune_config, run_config):
            pickles.append(cloudpickle.dumps((tune_config, run_config)))

        def fit(self) -> None:
            pass

    monkeypatch.setattr(tune, "Tuner", Tuner)
    monkeypatch.setattr(tune, "with_parameters", lambda trainable, **_: trainable)
    monkeypatch.setattr(tune, "with_resources", lambda trainable, _: trainable)
    monkeypatch.setattr(module, "watched", lambda take: nullcontext())
    return pickles


def test_no_password_is_in_what_ray_tune_writes_down(written, sweep_with_database, monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)  # pytest's own cannot be pickled
    folder, server = sweep_with_database("s"), sweep_with_database("secret")
    storage, uri = f"sqlite:///{server.database}", "https://ann:secret@mlflow:5000"
    plan = small_plan(tracking_uri=uri, storage=storage)
    with studies.open_study(folder, plan, storage) as study:
        slots = Slots(count=1, share={"CPU": 1}, workers=1)
        plan = small_plan(tracking_uri=uri, storage="postgresql+psycopg2://ann:secret@h/d")
        module._run_trials(folder, plan, study, slots, TrialRuns(folder, plan), 2, verbose=False)
    (kept,) = written
    assert b"StudySearch" in kept
    assert b"secret" not in kept


@pytest.fixture
def ends():
    """Hears how trials end; and a way to end one: failed or not, hindered or not, tried again or not."""
    settled = SimpleNamespace(end=lambda trial, settle: None)
    ends = module._Ends(None, settled, SimpleNamespace(settle=None), "lia sweep --resume s")
    plan = small_plan()

    def end(**attributes) -> None:
        state = TrialState.FAIL if "failure" in attributes else TrialState.PRUNED
        ends._end(told(plan, 0, {}, state=state, **attributes))
        ends.on_step_end(0, [])

    return end


FULL = {"failure": "the disk is full", "hindered": True}


def test_a_sweep_that_only_burns_trials_ends_with_the_reason(ends):
    for _ in range(module.MOST_HINDERED - 1):
        ends(**FULL)
    with pytest.raises(
        module.SweepHindered, match=r"3 trials in a row .*the disk is full.*`lia sweep --resume s`"
    ):
        ends(**FULL)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({}, id="stopped"),
        pytest.param({"failure": "diverged"}, id="failed-by-itself"),
    ],
)
def test_a_trial_that_was_trained_shows_that_others_can_be(ends, other):
    for _ in range(3):
        for _ in range(module.MOST_HINDERED - 1):
            ends(**FULL)
        ends(**other)


def test_what_is_tried_again_and_fails_again_ends_a_sweep_that_trained_nothing_else(ends):
    for number in range(module.MOST_HINDERED - 1):
        ends(**FULL, again=number)
    with pytest.raises(module.SweepHindered):
        ends(**FULL, again=module.MOST_HINDERED)


def test_what_fails_again_where_others_are_trained_has_a_reason_of_its_own(ends):
    ends()
    for number in range(5):
        ends(**FULL, again=number)
