"""Which checkpoint a run goes on from."""

import json

import pytest
import torch

from lia_model.config import LiaConfig
from orchestration.checkpoints import RAYS_LIST, newest_sound_checkpoint, remove_old_checkpoints
from orchestration.experiment import Experiment, LossConfig, ScheduleConfig
from orchestration.training_state import CheckpointError, Progress, save_checkpoint
from orchestration.training_step import Networks
from pipelines.cropping.config import PrepareConfig

TINY = Experiment(
    name="tiny",
    model=LiaConfig(image_size=32, style_dim=4, motion_dim=1, width=0.01),
    prepare=PrepareConfig(size=32),
    loss=LossConfig(perceptual=0.0, perceptual_features="none", adversarial=0.0),
    schedule=ScheduleConfig(steps=4, batch_size=1, workers=1),
)


@pytest.fixture
def training(tmp_path):
    """Three checkpoints, and a list of them as Ray Train keeps it."""
    networks, names = Networks.create(TINY), []
    for step in (2, 4, 6):
        progress = Progress(step=step, pairs_seen=step, epoch=0, config={}, dataset_digest="d", world_size=1)
        names.append(f"step-{step:08d}")
        save_checkpoint(tmp_path / names[-1], networks, progress, torch.zeros(1, 8, dtype=torch.uint8))
    listed = {"checkpoint_results": [{"checkpoint_dir_name": name} for name in names]}
    (tmp_path / RAYS_LIST).write_text(json.dumps(listed))
    return tmp_path


def test_the_newest_where_all_are_sound(training):
    assert newest_sound_checkpoint(training) == training / "step-00000006"
    assert (training / RAYS_LIST).is_file()


def test_damaged_ones_are_set_aside(training, capsys):
    (training / "step-00000006" / "state.json").write_text("{")
    (training / "step-00000004" / "optimisers.pt").write_bytes(b"")
    assert newest_sound_checkpoint(training) == training / "step-00000002"
    assert {path.name for path in training.iterdir()} == {
        "step-00000002", "damaged-step-00000004", "damaged-step-00000006"
    }  # fmt: skip
    said = capsys.readouterr().err
    assert "step-00000006/state.json" in said
    assert "set aside as damaged-step-00000004" in said


def test_a_checkpoint_that_someone_removed(training):
    (training / "step-00000006").rename(training / "elsewhere")
    assert newest_sound_checkpoint(training) == training / "step-00000004"
    assert not (training / RAYS_LIST).exists()


def test_a_damaged_list_is_begun_anew(training):
    (training / RAYS_LIST).write_text("torn")
    assert newest_sound_checkpoint(training) == training / "step-00000006"
    assert not (training / RAYS_LIST).exists()


def test_no_checkpoint(tmp_path):
    assert newest_sound_checkpoint(tmp_path / "nowhere") is None


def test_a_checkpoint_of_another_version_is_no_damage(training):
    state = json.loads((training / "step-00000006" / "state.json").read_text())
    (training / "step-00000006" / "state.json").write_text(json.dumps({**state, "schema_version": 99}))
    with pytest.raises(CheckpointError, match="schema 99"):
        newest_sound_checkpoint(training)
    assert (training / "step-00000006").is_dir()


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_again_by_itself(training):
    for folder in training.glob("step-*"):
        (folder / "state.json").unlink()
    (training / "damaged-step-00000006").mkdir()
    with pytest.raises(CheckpointError, match="none of its 3 checkpoints is sound"):
        newest_sound_checkpoint(training)
    assert (training / "damaged-step-00000006-2").is_dir()


def test_old_checkpoints_go(training):
    remove_old_checkpoints(training, keep=2)
    assert sorted(path.name for path in training.glob("step-*")) == ["step-00000004", "step-00000006"]
