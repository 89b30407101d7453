"""How far a training is: by its folder alone, by MLflow alone, and by both."""

from dataclasses import replace

import pytest

from orchestration.recipes import demo
from orchestration.status.training import progress_of, read_recorded, read_training
from orchestration.training.run_folder import RunFolder, RunRecord
from tests.unit.orchestration.training.test_run_folder import RECORD
from tracking.run import Latest, Run, RunFacts

FACTS = RunFacts(
    status="RUNNING",
    started_ms=0,
    ended_ms=None,
    params={},
    tags={},
    metrics={
        "loss/l1": Latest(0.5, 20, 5000),
        "speed/pairs_per_second": Latest(8.0, 20, 5000),
        "validation/l1": Latest(0.4, 10, 4000),
        "eval/l1": Latest(0.3, 99, 9000),
    },
)
PLAIN = {"name": "n", "experiment": "e", "steps": 100, "batch_size": 4}


@pytest.mark.parametrize(
    ("known", "state", "step", "recorded_at"),
    [
        pytest.param({"facts": None}, "not finished", 0, None, id="just-begun"),
        pytest.param({"facts": None, "checkpoint": 10}, "not finished", 10, None, id="folder-alone"),
        pytest.param({"facts": FACTS, "checkpoint": 10}, "running", 20, 5, id="ahead-of-its-checkpoint"),
        pytest.param({"facts": replace(FACTS, status="KILLED")}, "killed", 20, 5, id="killed"),
        pytest.param({"facts": FACTS, "finished": 100}, "finished", 100, 5, id="evaluated-yet"),
        pytest.param(
            {"facts": FACTS, "unsent": {"loss/l1": Latest(0.1, 30, 7000)}}, "running", 30, 7, id="store-away"
        ),
        pytest.param(
            {"facts": FACTS, "unsent": {"loss/l1": Latest(0.1, 10, 3000)}}, "running", 20, 5, id="sent-twice"
        ),
    ],
)
def test_progress(known, state, step, recorded_at):
    found = progress_of(**PLAIN, **known)
    assert (found.state, found.step, found.recorded_at) == (state, step, recorded_at)


def test_losses_scores_and_time_left():
    found = progress_of(**PLAIN, facts=FACTS)
    assert (found.losses, found.validation) == ({"l1": 0.5}, {"l1": 0.4})
    assert found.seconds_left == (100 - 20) * 4 / 8
    assert progress_of(**PLAIN, facts=FACTS, finished=100).seconds_left is None
    assert progress_of(**PLAIN, facts=None).seconds_left is None


@pytest.fixture
def begun(store, tmp_path) -> tuple[RunFolder, Run]:
    """A run in a folder and in MLflow."""
    run = Run.start("lia-demo", name="run-1", tracking_uri=store)
    run.log_config({"name": "lia-demo", "schedule": {"steps": 1600, "batch_size": 8}})
    run.log_metrics({"loss/l1": 0.25, "speed/pairs_per_second": 10.0}, step=40)
    run.flush()
    folder = RunFolder(tmp_path / "run-1")
    folder.create(demo(), replace(RECORD, run_id=run.run_id, tracking_uri=store))
    (folder.checkpoints / "step-00000020").mkdir()
    return folder, run


def test_a_run_is_read_from_its_folder_and_its_record(begun):
    folder, run = begun
    found = read_training(folder.path)
    assert (found.state, found.step, found.checkpoint) == ("running", 40, 20)
    assert (found.steps, found.losses, found.note) == (1600, {"l1": 0.25}, "")
    run.end("FAILED")
    assert read_training(folder.path).state == "failed"
    folder.write_json("finished.json", {"step": 1600})
    assert (read_training(folder.path).state, read_training(folder.path).step) == ("finished", 1600)


def test_without_the_store_the_folder_says_what_it_can(tmp_path):
    record: RunRecord = replace(RECORD, tracking_uri=f"sqlite:///{tmp_path}/gone.db")
    folder = RunFolder(tmp_path / "run")
    folder.create(demo(), record)
    (folder.checkpoints / "step-00000020").mkdir()
    found = read_training(folder.path)
    assert (found.state, found.step) == ("not finished", 20)
    assert "gone.db: there is no MLflow store" in found.note
    assert not (tmp_path / "gone.db").exists()


def test_runs_that_only_mlflow_knows_are_found_while_they_run(begun, store):
    _, run = begun
    other = Run.start("lia-demo", name="not a training", tracking_uri=store)
    (found,) = [each for each in read_recorded(store, set()) if each.name == "run-1 in MLflow" and each.step]
    assert (found.step, found.steps, found.batch_size, found.experiment) == (40, 1600, 8, "lia-demo")
    names = [each.name for each in read_recorded(store, {run.run_id})]
    assert f"{other.name} in MLflow" not in names
    run.end()
    assert "run-1 in MLflow" not in [each.name for each in read_recorded(store, set()) if each.step]
