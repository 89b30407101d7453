"""Running a sweep: what Ray Tune is given, which writes it down."""

import sys
from contextlib import nullcontext

import pytest
from ray import cloudpickle, tune

from orchestration.sweep import study as studies
from orchestration.sweep import sweep as module
from orchestration.sweep.slots import Slots
from orchestration.sweep.trial_runs import TrialRuns
from tests.small_study import small_plan


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
