"""Every source is asked, none holds the others up, and what fails is one line."""

import os
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestration.recipes import demo
from orchestration.status import gather as status_gather
from orchestration.status.gather import ask_all, explained, gather, newest
from orchestration.status.places import find_places
from orchestration.status.unreached import Unreached
from orchestration.training.run_folder import RunFolder
from pipelines.errors import InputError
from pipelines.storage.location import parse_location
from tests.unit.orchestration.status.test_screen import preparation
from tests.unit.orchestration.training.test_run_folder import RECORD

CLOSED = "http://127.0.0.1:1"


def test_one_that_is_silent_holds_nobody_up():
    over = threading.Event()

    def fail() -> None:
        raise InputError("bad: x")

    found, unreached, stuck = ask_all({"slow": over.wait, "good": lambda: 7, "bad": fail}, 0.2)
    over.set()
    assert found == {"good": 7}
    assert [(source.what, source.why) for source in unreached] == [
        ("bad", "x"),
        ("slow", "did not answer in 0.2 s"),
    ]
    assert stuck


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Unreached("a", "b", "c"), "b"),
        (InputError("postgresql://me:hush@host/db: no"), "postgresql://host/db: no"),
        (ValueError(), "ValueError"),
    ],
)
def test_failures_are_one_line_without_passwords(error, why):
    assert explained("n", error).why == why


def test_places(tmp_path):
    for name in ("out/run-1/run.json", "out/dataset-1/dataset.json", "runs/vox/run.json", "sweeps/a/sweep.json",
                 "a/b/c/run.json", "sweeps/a/trial-0000/run.json", ".cache/run-2/run.json"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "prepared" / ".outcomes").mkdir(parents=True)
    found = find_places([tmp_path, parse_location("s3://bucket/data"), tmp_path / "nowhere"])
    assert [path.relative_to(tmp_path).as_posix() for path in found.runs] == ["out/run-1", "runs/vox"]
    assert [path.name for path in found.sweeps] == ["a"]
    assert [str(place).rpartition("/")[2] for place in found.datasets] == ["dataset-1", "prepared", "data"]
    assert find_places([tmp_path / "a" / "b" / "c"]).runs == [tmp_path / "a" / "b" / "c"]


def test_datasets_that_a_run_made_below_an_address_are_found(monkeypatch):
    """`lia run --shards s3://bucket/vox` makes s3://bucket/vox/dataset-KEY."""
    there = {
        "s3://bucket/vox/dataset-a": "first",
        "s3://bucket/vox/dataset-b": None,
        "s3://bucket/one": "alone",
    }
    names = SimpleNamespace(names=lambda: ["other", "dataset-b", "dataset-a"])
    monkeypatch.setattr(status_gather, "store_at", lambda place: names)
    monkeypatch.setattr(
        status_gather,
        "read_progress",
        lambda place, seconds: there.get(str(place)) and preparation(state=there[str(place)]),
    )
    read = status_gather._read_datasets
    found = read(parse_location("s3://bucket/vox"))
    assert [(name, progress.state) for name, progress in found] == [("s3://bucket/vox/dataset-a", "first")]
    assert [name for name, _ in read(parse_location("s3://bucket/one"))] == ["s3://bucket/one"]


def test_those_under_way_come_first_then_the_newest(tmp_path):
    for age, (name, finished) in enumerate(
        [("old", False), ("newest", True), ("older", True), ("oldest", True)]
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").touch()
        os.utime(tmp_path / name / "run.json", (10**9 - age, 10**9 - age))
        if finished:
            (tmp_path / name / "finished.json").touch()
    order = newest(sorted(tmp_path.iterdir()), "finished.json", "run.json")
    assert [path.name for path in order] == ["old", "newest", "older", "oldest"]


def test_nothing_at_all_is_said_plainly_and_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    status = gather(CLOSED)
    assert status.empty
    assert not status.stuck
    assert [source.what for source in status.unreached] == ["Ray", "MLflow"]
    assert list(tmp_path.iterdir()) == []
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_runs_that_name_another_store_need_none_in_this_folder(tmp_path, monkeypatch, store):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    RunFolder(tmp_path / "run").create(demo(), replace(RECORD, tracking_uri=store))
    status = gather(CLOSED)
    assert [source.what for source in status.unreached] == ["Ray"]
    assert [training.name for training in status.trainings] == ["run"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense")
    assert [source.what for source in gather(CLOSED).unreached] == ["Ray", "MLflow"]


def test_a_dataset_that_is_no_more_there_and_a_damaged_run_do_not_hide_the_rest(tmp_path, monkeypatch, store):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    (tmp_path / "run.json").write_text("{")
    status = gather(CLOSED, [tmp_path, tmp_path / "gone"])
    assert [source.what for source in status.unreached] == ["Ray", str(tmp_path), f"{tmp_path}/gone"]
    assert "run.json: unreadable" in status.unreached[1].why
    assert status.unreached[2].why == "holds no run, dataset or sweep"
    assert status.preparations == []
