"""A run's folder remembers what it must and refuses what would overwrite."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.weights import save_generator
from orchestration.models import load_model
from orchestration.recipes import demo
from orchestration.training.run_folder import RunFolder, RunFolderError, RunRecord
from pipelines.errors import InputError

RECORD = RunRecord(
    run_id="r",
    tracking_uri="sqlite:////x",
    dataset="/d",
    dataset_digest="0",
    perceptual_weights=None,
    perceptual_sha256=None,
    provenance={},
)
TINY = LiaConfig(image_size=32, style_dim=4, motion_dim=1, width=0.01)


def test_a_run_is_opened_as_it_was_created(tmp_path):
    folder = RunFolder(tmp_path / "new" / "run")
    assert not folder.exists()
    folder.create(demo(), RECORD)
    assert folder.open() == (demo(), RECORD)
    with pytest.raises(RunFolderError, match="--resume"):
        folder.create(demo(), RECORD)


def test_the_record_of_another_release_is_read(tmp_path):
    folder = RunFolder(tmp_path)
    folder.create(demo(), RECORD)
    (tmp_path / "config.json").write_text('{"of": "another release"}')
    assert folder.record() == RECORD
    with pytest.raises(InputError, match=r"config\.json"):
        folder.open()


def test_passwords_of_the_store_stay_in_the_environment(tmp_path, monkeypatch):
    given = "postgresql://user:secret@host/db"
    RunFolder(tmp_path).create(demo(), replace(RECORD, tracking_uri=given))
    assert "secret" not in (tmp_path / "run.json").read_text()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert RunFolder(tmp_path).open()[1].tracking_uri == given
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:other@elsewhere/db")
    assert RunFolder(tmp_path).open()[1].tracking_uri == "postgresql://host/db"


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"no run\.json"):
        RunFolder(tmp_path).open()


def test_a_run_does_not_go_into_a_file(tmp_path):
    (tmp_path / "file").touch()
    for place in ("file", "file/run", "file/runs/run"):
        with pytest.raises(InputError, match="file: is not a folder"):
            RunFolder(tmp_path / place).require_new()


def test_a_place_that_cannot_be_written_to_is_named():
    with pytest.raises(InputError, match=r"/proc: cannot be written to .*--out"):
        RunFolder(Path("/proc/run")).create(demo(), RECORD)


@pytest.mark.parametrize("text", ["{", '{"run_id": "r"}', '{"other": 1}', "[" * 100_000])
def test_a_damaged_record_is_named(text, tmp_path):
    RunFolder(tmp_path).create(demo(), RECORD)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"run\.json"):
        RunFolder(tmp_path).open()


def test_finished_means_finished_with_this_very_model(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.finished_step() is None
    save_generator(folder.model, Generator(TINY))
    assert folder.finished_step() is None
    folder.finish(7)
    assert folder.finished_step() == 7
    save_generator(folder.model, Generator(TINY))
    assert folder.finished_step() is None


def test_a_model_is_loaded_from_its_folder_and_from_its_runs(tmp_path):
    generator = Generator(TINY)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    save_generator(tmp_path / "run" / "model", generator)
    for reference in (tmp_path / "run", tmp_path / "run" / "model"):
        loaded = load_model(str(reference))
        assert not loaded.training
        assert torch.equal(loaded.directions(), generator.directions())


def test_an_unknown_model_is_named(tmp_path):
    with pytest.raises(InputError, match="no such model"):
        load_model(str(tmp_path / "absent"))
