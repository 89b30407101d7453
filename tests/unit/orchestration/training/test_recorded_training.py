"""The record of a run that begins with another model: what is kept, what is told, what is refused."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lia_model.generator import Generator
from lia_model.weights import load_generator, save_generator
from orchestration.experiment import LossConfig
from orchestration.training import recorded_training
from orchestration.training.initial_model import read_initial_model
from orchestration.training.run_folder import RunFolder, RunFolderError
from pipelines.errors import InputError
from tests.unit.orchestration.training.test_initial_model import EXPERIMENT, MODEL


class NotedRun:
    """Stands for a run in MLflow and keeps its tags."""

    run_id, tracking_uri = "r", "sqlite:////x"

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.resumed = False

    def start(
        self, experiment: str, *, name: str, tags: dict[str, str], tracking_uri: str | None
    ) -> "NotedRun":
        self.set_tags(tags)
        return self

    def resume(self, run_id: str, *, tracking_uri: str) -> "NotedRun":
        self.resumed = True
        return self

    def set_tags(self, tags: dict[str, str]) -> None:
        self.tags |= tags

    def log_config(self, config: dict[str, object]) -> None:
        pass


@pytest.fixture
def run(monkeypatch) -> NotedRun:
    noted = NotedRun()
    monkeypatch.setattr(recorded_training, "Run", noted)
    monkeypatch.setattr(
        recorded_training, "PairDataset", lambda root, partition: SimpleNamespace(size=32, digest="d")
    )
    monkeypatch.setattr(recorded_training, "digest_of", lambda root, *, grows: "d")
    return noted


@pytest.fixture
def begun(run, tmp_path) -> tuple[RunFolder, Path]:
    """A run that begins with a model of fewer directions, and that model."""
    save_generator(tmp_path / "model", Generator(MODEL))
    folder = RunFolder(tmp_path / "run")
    initial = read_initial_model(str(tmp_path / "model"), EXPERIMENT)
    recorded_training.begin(EXPERIMENT, tmp_path, folder, initial=initial)
    return folder, tmp_path / "model"


def test_a_run_keeps_the_adapted_model_and_says_where_it_is_from(run, begun):
    folder, model = begun
    kept = load_generator(folder.initial)
    assert kept.config == EXPERIMENT.model
    assert torch.equal(kept.motion_basis.weight[:, :3], load_generator(model).motion_basis.weight)
    record = folder.open()[1].initial
    assert record.model == str(model)
    assert run.tags["lia.initial_model"] == str(model)
    assert run.tags["lia.initial_digest"] == record.digest != record.adapted_digest


@pytest.mark.parametrize("spoil", ["change", "remove"])
def test_a_run_whose_initial_model_was_changed_does_not_go_on(spoil, run, begun):
    folder, _ = begun
    path = folder.initial / "model.safetensors"
    if spoil == "remove":
        path.unlink()
    else:
        save_generator(folder.initial, Generator(EXPERIMENT.model))
    with pytest.raises(RunFolderError, match="initial: the model that this run began with was changed"):
        recorded_training.go_on(folder)
    assert not run.resumed, "it would be called RUNNING for ever"


def test_a_fresh_run_has_no_such_record(run, tmp_path):
    folder = RunFolder(tmp_path / "run")
    recorded_training.begin(EXPERIMENT, tmp_path, folder)
    assert folder.open()[1].initial is None
    assert not folder.initial.exists()
    assert not any("initial" in tag for tag in run.tags)


@pytest.mark.parametrize("loss", [{"perceptual": 0.0}, {"perceptual_features": "vgg16-hed"}])
def test_a_vgg_file_that_the_loss_would_not_use_is_refused(loss, tmp_path):
    experiment = replace(EXPERIMENT, loss=LossConfig(**loss))
    with pytest.raises(InputError, match=r"--vgg .*vgg\.pth: the loss of this experiment does not use it"):
        recorded_training.perceptual_weights(experiment, tmp_path / "vgg.pth")
