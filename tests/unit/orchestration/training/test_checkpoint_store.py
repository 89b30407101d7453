"""Checkpoints of a run: written in the background, the newest and the best kept, damaged ones set aside."""

import json
import math
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from lia_model.config import LiaConfig
from orchestration.experiment import Experiment, LossConfig, ScheduleConfig
from orchestration.models import load_model
from orchestration.training.checkpoint import CheckpointError, Progress, Snapshot, read_progress
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.step import Networks
from pipelines.cropping.config import PrepareConfig
from pipelines.errors import StorageError
from tracking.provenance import digest_config

TINY = Experiment(
    name="tiny",
    model=LiaConfig(image_size=32, style_dim=4, motion_dim=1, width=0.01),
    prepare=PrepareConfig(size=32),
    loss=LossConfig(perceptual=0.0, perceptual_features="none", adversarial=0.0),
    schedule=ScheduleConfig(steps=4, batch_size=1, workers=1),
)
NETWORKS = Networks.create(TINY)


def snapshot(step: int, **validation: float) -> Snapshot:
    progress = Progress(
        step=step,
        pairs_seen=step,
        epoch=0,
        validation=validation,
        config={},
        dataset_digest="d",
        world_size=1,
    )
    return Snapshot.take(NETWORKS, progress, torch.zeros(1, 8, dtype=torch.uint8))


@pytest.fixture
def store(tmp_path):
    """Three checkpoints."""
    store = CheckpointStore(tmp_path)
    for step in (2, 4, 6):
        store.save(snapshot(step))
    store.finish()
    return store


def test_the_newest_where_all_are_sound(store):
    assert store.newest_sound() == 6
    assert store.set_aside == []


def test_damaged_ones_are_set_aside(store):
    (store.path(6) / "state.json").write_text("{")
    (store.path(4) / "optimisers.pt").write_bytes(b"")
    assert store.newest_sound() == 2
    assert {path.name for path in store.folder.iterdir()} == {
        "step-00000002", "damaged-step-00000004", "damaged-step-00000006"
    }  # fmt: skip
    assert "step-00000006/state.json" in store.set_aside[0]
    assert "set aside as damaged-step-00000004" in store.set_aside[1]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ('"dataset_digest": "d"', '"dataset_digest": "e"'),
        ('"world_size": 1', '"world_size": 3'),
        ("2,", "6,"),
    ],
)
def test_a_state_that_reads_well_but_has_changed_is_damaged(written, found, store):
    path = store.path(6) / "state.json"
    text = path.read_text()
    assert written in text
    path.write_text(text.replace(written, found, 1))
    assert store.newest_sound() == 4
    assert "step-00000006/state.json: unreadable: its content is not what was written" in store.set_aside[0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"step": 4}, id="of-another-step"),
        pytest.param({"step": "6"}, id="step-is-text"),
        pytest.param({"validation": "good"}, id="scores-are-text"),
        pytest.param({"validation": {"l1": None}}, id="a-score-is-nothing"),
        pytest.param({"files": None}, id="no-digests"),
    ],
)
def test_a_state_that_says_something_else_is_damage(store, change):
    path = store.path(6) / "state.json"
    state = json.loads(path.read_text())
    del state["digest"]  # which would tell by itself
    path.write_text(json.dumps({**state, **change}))
    store.best()
    assert store.newest_sound() == 4


def test_a_state_of_brackets_in_brackets_is_damage(store):
    (store.path(6) / "state.json").write_text("[" * 100_000)
    assert store.newest_sound() == 4


def test_files_and_folders_in_each_others_places_are_damage(store):
    shutil.rmtree(store.path(6))
    store.path(6).touch()
    (store.path(4) / "state.json").unlink()
    (store.path(4) / "state.json").mkdir()
    assert store.best() is None
    assert store.newest_sound() == 2
    assert len(store.set_aside) == 2


def test_a_checkpoint_is_a_model_too(store):
    loaded = load_model(str(store.path(4)))
    assert torch.equal(loaded.directions(), NETWORKS.generator.directions())


def test_no_checkpoint(tmp_path):
    assert CheckpointStore(tmp_path / "nowhere").newest_sound() is None
    assert CheckpointStore(tmp_path / "nowhere").best() is None


def test_a_checkpoint_of_another_version_is_no_damage(store):
    state = {**json.loads((store.path(6) / "state.json").read_text()), "schema_version": 99}
    del state["digest"]
    state["digest"] = digest_config(state)
    (store.path(6) / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="schema 99"):
        store.newest_sound()
    assert store.path(6).is_dir()


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_again_by_itself(store):
    for folder in store.folder.glob("step-*"):
        (folder / "state.json").unlink()
    (store.folder / "damaged-step-00000006").mkdir()
    with pytest.raises(CheckpointError, match="none of its 3 checkpoints is sound"):
        store.newest_sound()
    assert (store.folder / "damaged-step-00000006-2").is_dir()


def test_the_newest_and_the_best_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for step, score in enumerate([0.5, 0.2, 0.4, 0.3, 0.25], 1):
        store.save(snapshot(step, l1=score))
    store.finish()
    assert store.steps() == [2, 4, 5]
    assert store.best() == (2, 0.2)
    assert {path.name for path in tmp_path.iterdir()} == {store.path(step).name for step in (2, 4, 5)}


def test_what_is_saved_is_what_the_networks_were_at_that_moment(tmp_path):
    """Training goes on while the checkpoint is written."""
    store = CheckpointStore(tmp_path)
    networks = Networks.create(TINY)
    before = {name: tensor.clone() for name, tensor in networks.generator.state_dict().items()}
    taken = Snapshot.take(networks, snapshot(1).progress, torch.zeros(1, 8, dtype=torch.uint8))
    with torch.no_grad():
        for parameter in networks.generator.parameters():
            parameter.add_(1)
    store.save(taken)
    store.finish()
    assert all(torch.equal(taken.generator[name], before[name]) for name in before)
    assert read_progress(store.path(1)).step == 1


def test_saving_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    may_write = threading.Event()
    write = Snapshot.write
    monkeypatch.setattr(Snapshot, "write", lambda self, folder: may_write.wait(30) and write(self, folder))
    store = CheckpointStore(tmp_path)
    store.save(snapshot(1))
    assert store.steps() == []
    may_write.set()
    store.finish()
    assert store.steps() == [1]


def test_a_disk_that_fails_is_told_at_the_next_opportunity(store, monkeypatch):
    def fail(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "write", fail)
    store.save(snapshot(8))
    with pytest.raises(StorageError, match=r"could not be written .*No space left.*--resume"):
        store.finish()
    assert store.newest_sound() == 6


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device"),
        RuntimeError("PytorchStreamWriter failed writing file: No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_write_is_known_without_waiting(store, monkeypatch, error):
    over = threading.Event()

    def fail(self, folder):
        over.wait(30)
        raise error

    monkeypatch.setattr(Snapshot, "write", fail)
    store.save(snapshot(8))
    store.require_writable()
    over.set()
    with pytest.raises(StorageError, match=r"could not be written .*No space left.*MB are free"):
        ask_until_raised(store)


def test_the_reason_of_a_failed_write_is_told(store, monkeypatch):
    """/dev/full is a disk without room."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    make = Path.mkdir

    def mkdir(self, *arguments, **how):
        make(self, *arguments, **how)
        if self.name.endswith(".partial"):
            (self / "optimisers.pt").symlink_to("/dev/full")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    store.save(snapshot(8))
    with pytest.raises(StorageError, match=r"could not be written \(.*No space left on device"):
        store.finish()
    assert store.newest_sound() == 6


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "run").write_text("in the way")
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    store.save(snapshot(1))
    with pytest.raises(StorageError, match=r"could not be written .*Not a directory"):
        store.finish()


def ask_until_raised(store):
    for _ in range(3000):
        store.require_writable()
        time.sleep(0.01)


def test_a_checkpoint_that_another_process_made_meanwhile_is_kept(store, monkeypatch):
    """A worker may outlive its driver for a moment; what it makes has the same bits."""
    write = Snapshot.write

    def write_twice(self, folder):
        write(self, folder)
        write(self, folder)

    monkeypatch.setattr(Snapshot, "write", write_twice)
    store.save(snapshot(8))
    store.finish()
    assert store.newest_sound() == 8
    assert [path.name for path in store.folder.iterdir() if path.name.startswith(".")] == []


def test_a_score_that_is_no_number_is_not_the_best(tmp_path):
    store = CheckpointStore(tmp_path)
    for step, score in enumerate([math.nan, 0.5, -math.inf], 1):
        store.save(snapshot(step, l1=score))
    store.finish()
    assert store.best() == (2, 0.5)


def test_leftovers_of_a_killed_process_are_no_checkpoints_and_go(store):
    (store.folder / ".step-00000008.0a1b2c3d.partial").mkdir()
    (store.folder / ".step-00000002.removed").mkdir()
    assert store.newest_sound() == 6
    store = CheckpointStore(store.folder)
    store.save(snapshot(8))
    store.finish()
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "step-00000004", "step-00000006", "step-00000008"
    ]  # fmt: skip
