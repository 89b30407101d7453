"""A sweep on a PostgreSQL server with a weak trial that is stopped: what it leaves where."""

import json
import re
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.postgres import running_postgres
from tests.small_sweep import EVERY, FIELDS, STEPS, sweep, trials
from tests.small_training import write_dataset

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy"
    ),  # Optuna's affair with SQLAlchemy 2.1
]
# Of two trials that learn at these rates, the second learns nothing.
SPACE = ("--space", "optimiser.lr=0.008,1e-9", "--space", "model.motion_dim=2,3", "--seed", "0")


@pytest.fixture(scope="module")
def storage():
    with running_postgres() as server:
        yield server.create_database("optuna")


@pytest.mark.thorough
def test_trials_with_workers_of_their_own_and_a_front_of_two_objectives(tmp_path):
    """Trial and workers find room beside each other; nothing is stopped early."""
    here = tmp_path / "here"
    here.mkdir()
    flags = ["--trials", "2", "--objective", "l1", "ssim", *SPACE, "--schedule.workers", "2"]
    run = sweep(here, "--study", "small", "--data", write_dataset(tmp_path), *FIELDS, *flags)
    try:
        said = run.end()
    finally:
        run.close()
    found = trials(here / "sweeps" / "small")
    assert [trial["state"] for trial in found] == ["COMPLETE", "COMPLETE"]
    assert [len(trial["values"]) for trial in found] == [2, 2]
    assert "Pareto front" in said
    pictures = shown(here / "sweeps" / "small" / "pictures")
    assert {"pareto.png", "history-l1.png", "slice-ssim.png", "strip.png"} <= pictures.keys()
    assert all(len(np.unique(picture)) > 20 for picture in pictures.values())


def shown(folder: Path) -> dict[str, np.ndarray]:
    """Pictures by name."""
    return {path.name: np.asarray(Image.open(path)) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def cwd(tmp_path_factory, storage) -> Path:
    """Where the sweep was run."""
    root = tmp_path_factory.mktemp("sweep")
    cwd = root / "here"
    cwd.mkdir()
    flags = ["--trials", "2", "--concurrent", "1", "--grace", str(EVERY), *SPACE, "--storage", storage]
    run = sweep(cwd, "--study", "small", "--data", write_dataset(root), *flags, *FIELDS)
    try:
        run.end()
    finally:
        run.close()
    return cwd


@pytest.fixture
def said(cwd) -> str:
    return (cwd / "said-0.txt").read_text()


def test_the_weak_trial_is_stopped_at_the_end_of_its_grace(cwd, storage, said):
    first, second = trials(cwd / "sweeps" / "small", storage)
    assert (first["params"]["optimiser.lr"], second["params"]["optimiser.lr"]) == (0.008, 1e-9)
    assert (first["state"], second["state"]) == ("COMPLETE", "PRUNED")
    assert list(first["validated"]) == list(range(EVERY, STEPS + 1, EVERY))
    assert list(second["validated"]) == [EVERY]
    assert first["values"] == [first["validated"][STEPS]]
    assert "2 trials: 1 complete, 1 stopped" in said
    assert re.search(r"about \d+:\d\d:\d\d of training: \d+\.\d\d machine-hours on 1 machine", said)


def test_the_password_stays_with_the_user(cwd, storage):
    kept = (cwd / "sweeps" / "small" / "sweep.json").read_text()
    assert "secret" not in kept
    assert json.loads(kept)["storage"].endswith("/optuna")


def test_the_trials_stand_below_the_sweep_and_the_winner_says_where_it_is_from(cwd):
    client = MlflowClient(f"sqlite:///{cwd.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lia-demo")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs["small"]
    assert parent.info.status == "FINISHED"
    for name, state, status in (("trial-0000", "complete", "FINISHED"), ("trial-0001", "pruned", "KILLED")):
        assert runs[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert runs[name].data.tags["lia.sweep.state"] == state
        assert runs[name].info.status == status
    assert json.loads(runs["trial-0001"].data.tags["lia.sweep.fields"])["optimiser.lr"] == 1e-9
    version = client.get_model_version_by_alias("lia-demo", "candidate")
    assert version.tags["lia.sweep.run"] == parent.info.run_id
    assert version.tags["lia.sweep.trial"] == "0"
    assert {"report.html", "trials.csv"} <= {
        found.path for found in client.list_artifacts(parent.info.run_id)
    }


def test_of_one_complete_trial_there_is_the_strip_and_why_there_is_no_more(cwd):
    folder = cwd / "sweeps" / "small"
    pictures = shown(folder / "pictures")
    assert pictures.keys() == {"curves.png", "strip.png"}
    assert len(np.unique(pictures["strip.png"])) > 20
    assert (
        "history, slices and Pareto front: 1 complete trial, 2 are needed"
        in (folder / "report.html").read_text()
    )
    assert not (folder / "trial-0000" / "checkpoints").exists()
    assert not (folder / "trial-0001" / "checkpoints").exists()


def test_optuna_dashboard_opens_the_study(storage):
    from optuna_dashboard import wsgi

    environment: dict = {}
    setup_testing_defaults(environment)
    environment |= {"PATH_INFO": "/api/studies", "REQUEST_METHOD": "GET"}
    status: list[str] = []
    answer = b"".join(wsgi(storage)(environment, lambda code, *_: status.append(code)))
    assert status == ["200 OK"]
    assert [study["study_name"] for study in json.loads(answer)["study_summaries"]] == ["small"]
