"""The runs of trials in MLflow: begun, gone on with, recorded, ended; whatever is away meanwhile."""

import json
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from lia_model.weights import WeightsError
from orchestration.sweep import trial_runs as module
from orchestration.sweep.plan import SweepFolder
from orchestration.sweep.search import Refusal
from orchestration.sweep.space import apply
from orchestration.sweep.trial_runs import TrialRuns, needs_vgg19, trial_tags
from orchestration.training.ray_rank import Validated
from orchestration.training.run_folder import RunFolderError, RunRecord
from pipelines.errors import DatasetError, TransientError
from tests.small_study import small_experiment, small_plan, told
from tracking.errors import TrackingError
from tracking.run import Run

FIELDS = {"model.motion_dim": 5, "optimiser.lr": 1e-3}


def test_a_trials_run_lies_below_its_sweeps():
    tags = trial_tags(small_plan(), 7, {"model.motion_dim": 5, "data.flip": True})
    assert json.loads(tags.pop("lia.sweep.fields")) == {"model.motion_dim": 5, "data.flip": True}
    assert tags == {"mlflow.parentRunId": "parent", "lia.sweep.name": "s", "lia.sweep.trial": "7"}


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"loss.perceptual": "10", "loss.perceptual_features": "vgg19"}, True),
        ({"loss.perceptual": "0", "loss.perceptual_features": "vgg19"}, False),
        ({"loss.perceptual": "10", "loss.perceptual_features": "vgg16-hed"}, False),
        ({"loss.perceptual": "10", "loss.perceptual_features": "none"}, False),
    ],
)
def test_which_trials_read_the_file_of_vgg19(changes, needs):
    assert needs_vgg19(apply(small_experiment(), changes)) is needs


@pytest.fixture
def said(monkeypatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(module, "say", heard.append)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    return heard


@pytest.fixture
def plan(store):
    return small_plan(tracking_uri=store)


@pytest.fixture
def begun(monkeypatch) -> list:
    """Experiments of the trainings that were begun, without their dataset; errors put here are raised once each."""
    seen: list = []

    def begin(experiment, dataset, folder, *, vgg, tracking_uri, tags):
        if seen and isinstance(seen[-1], Exception):
            raise seen.pop()
        seen.append(experiment)
        run = Run.start(experiment.name, name=folder.path.name, tags=tags, tracking_uri=tracking_uri)
        record = RunRecord(
            run_id=run.run_id,
            tracking_uri=tracking_uri,
            dataset=str(dataset),
            dataset_digest="d",
            perceptual_weights=None,
            perceptual_sha256=None,
            provenance={},
        )
        folder.create(experiment, record)

    monkeypatch.setattr(module.recorded_training, "begin", begin)
    monkeypatch.setattr(module.recorded_training, "require_unchanged", lambda folder: None)
    return seen


@pytest.fixture
def runs(tmp_path, plan, said, begun) -> TrialRuns:
    return TrialRuns(SweepFolder(tmp_path / "s"), plan)


@pytest.fixture
def run_of(tmp_path, plan):
    """A trial's run, as the store has it."""
    folder = SweepFolder(tmp_path / "s")
    return lambda number: Run.attach(folder.trial(number).record().run_id, tracking_uri=plan.tracking_uri)


def validated(step: int) -> Validated:
    return Validated(step=step, scores={"l1": 0.5}, seconds=1.0)


def test_a_trial_is_begun_recorded_and_ended(runs, begun, plan, run_of):
    assert runs.begin(3, FIELDS) is None
    assert [experiment.model.motion_dim for experiment in begun] == [5]
    assert run_of(3).facts().status == "RUNNING"
    runs.take(3, validated(10))
    runs.take(3, validated(90))
    runs.end(told(plan, 3, FIELDS, [0.25]))
    runs.take(3, validated(91))  # it ended: nobody waits for that
    facts = run_of(3).facts()
    assert (facts.status, facts.tags["lia.sweep.state"]) == ("FINISHED", "complete")
    assert run_of(3).history("validation/l1") == [(10, 0.5), (90, 0.5)]
    assert run_of(3).history("sweep/l1") == [(90, 0.25)]


@pytest.mark.parametrize(
    ("state", "attributes", "status"),
    [(TrialState.PRUNED, {}, "KILLED"), (TrialState.FAIL, {"failure": "diverged"}, "FAILED")],
    ids=["stopped", "failed"],
)
def test_trials_without_scores_say_so(state, attributes, status, runs, plan, run_of):
    runs.begin(3, FIELDS)
    runs.end(told(plan, 3, FIELDS, state=state, **attributes))
    facts = run_of(3).facts()
    assert (facts.status, facts.tags.get("lia.sweep.failure")) == (status, attributes.get("failure"))


def test_checkpoints_of_trials_that_are_over_go_and_those_of_others_stay(runs, plan, tmp_path):
    folders = [SweepFolder(tmp_path / "s").trial(number) for number in (1, 2, 3, 4)]
    for folder, number in zip(folders, (1, 2, 3, 4), strict=True):
        runs.begin(number, FIELDS)
        assert folder.checkpoints.is_dir()
    runs.end(told(plan, 1, FIELDS, [0.25]))
    runs.end(told(plan, 2, FIELDS, state=TrialState.PRUNED))
    runs.end(told(plan, 3, FIELDS, state=TrialState.FAIL))
    folders[1].make()  # it was stopped and saved once more
    runs.clear_checkpoints()
    assert [folder.checkpoints.exists() for folder in folders] == [False, False, True, True]


def test_the_end_waits_for_what_the_trial_told(runs, plan, run_of):
    runs.begin(3, FIELDS)
    runs.end(told(plan, 3, FIELDS, [0.25]), heard=lambda: runs.take(3, validated(90)))
    assert run_of(3).history("validation/l1") == [(90, 0.5)]


def test_a_trial_to_go_on_with_keeps_its_run(runs, begun, plan, run_of):
    runs.begin(3, FIELDS)
    runs.close()
    first = run_of(3)
    assert first.facts().status == "KILLED"
    assert runs.begin(3, FIELDS) is None
    assert len(begun) == 1
    assert run_of(3).run_id == first.run_id
    assert run_of(3).facts().status == "RUNNING"


def test_a_folder_that_a_killed_driver_left_without_a_run_is_no_obstacle(runs, tmp_path):
    left = SweepFolder(tmp_path / "s").trial(3)
    left.make()
    (left.path / "half").write_text("{")
    assert runs.begin(3, FIELDS) is None
    assert not (left.path / "half").exists()


@pytest.mark.parametrize(
    "error",
    [
        DatasetError("the dataset is gone"),
        RunFolderError("it changed"),
        WeightsError("damaged weights"),
        OSError("no space left"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_would_not_mend_hinders_the_trial(error, runs, begun, said):
    begun.append(error)
    assert runs.begin(3, FIELDS) == Refusal(str(error), hindered=True)
    assert said == []


def test_a_reason_does_not_begin_with_the_trials_folder(runs, begun, tmp_path):
    begun.append(RunFolderError(f"{SweepFolder(tmp_path / 's').trial(3).path}: it changed"))
    assert runs.begin(3, FIELDS).why == "it changed"


def test_fields_that_the_experiment_refuses_are_the_trials_own_failure(runs, begun):
    refused = runs.begin(3, {"schedule.micro_batches": 3})
    assert "schedule.batch_size" in refused.why
    assert not refused.hindered
    assert begun == []


def test_checkpoints_of_trials_that_are_replaced_go(runs, tmp_path):
    folder = SweepFolder(tmp_path / "s").trial(3)
    folder.make()
    runs.go_over([], {3})
    runs.clear_checkpoints()
    assert not folder.checkpoints.exists()


def test_a_trial_that_never_had_a_run_can_end(runs, plan, tmp_path):
    runs.end(told(plan, 3, FIELDS, state=TrialState.FAIL, failure="refused"))
    assert not SweepFolder(tmp_path / "s").trial(3).exists()


@pytest.mark.parametrize("error", [TrackingError("MLflow is away"), TransientError("the server is away")])
def test_servers_that_are_away_are_waited_for(error, runs, begun, said):
    begun.append(error)
    assert runs.begin(3, FIELDS) is None
    assert said == [f"trial 3 waits: {error}"]


def test_an_end_that_could_not_be_recorded_is_recorded_later(runs, plan, said, run_of, monkeypatch):
    runs.begin(3, FIELDS)
    with monkeypatch.context() as away:

        def attach(run_id, *, tracking_uri):
            raise TrackingError("MLflow is away")

        away.setattr(module.Run, "attach", attach)
        runs.end(told(plan, 3, FIELDS, [0.25]))
    assert said == ["trial 3: how it ended is not recorded yet: MLflow is away"]
    assert run_of(3).facts().status == "RUNNING"
    runs.close()
    assert run_of(3).facts().status == "FINISHED"


def test_what_a_killed_driver_had_no_time_to_end_is_ended_by_the_next(runs, plan, run_of, tmp_path):
    runs.begin(3, FIELDS)
    runs.take(3, validated(90))
    following = TrialRuns(SweepFolder(tmp_path / "s"), replace(plan))
    following.go_over([told(plan, 3, FIELDS, [0.25]), told(plan, 4, FIELDS, state=TrialState.FAIL)])
    assert run_of(3).facts().status == "FINISHED"
    assert run_of(3).history("validation/l1") == [(90, 0.5)]
