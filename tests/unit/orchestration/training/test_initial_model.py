"""A model to begin with: found by reference, adapted, kept in the run's folder and looked after there."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.published import PublishedTensor, discriminator_layout, generator_layout
from lia_model.weights import WeightsError, load_generator, save_generator
from orchestration.experiment import Experiment, LossConfig, ScheduleConfig
from orchestration.training.initial_model import (
    digest_initial_model,
    load_initial_model,
    read_initial_model,
    save_initial_model,
)
from orchestration.training.step import Networks
from pipelines.cropping.config import PrepareConfig
from pipelines.errors import InputError

MODEL = LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=1 / 64)
EXPERIMENT = Experiment(
    name="tiny",
    model=replace(MODEL, motion_dim=5),
    prepare=PrepareConfig(size=32),
    loss=LossConfig(perceptual=0.0, perceptual_features="none"),
    schedule=ScheduleConfig(steps=1, batch_size=2, workers=1),
)
AT_64 = replace(EXPERIMENT, model=replace(EXPERIMENT.model, image_size=64), prepare=PrepareConfig(size=64))


@pytest.fixture
def model_folder(tmp_path) -> Path:
    torch.manual_seed(0)
    save_generator(tmp_path / "model", Generator(MODEL))
    return tmp_path / "model"


def published_state(layout: list[PublishedTensor]) -> dict[str, torch.Tensor]:
    return {tensor.name: torch.randn(tensor.shape) for tensor in layout}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A published checkpoint with both networks, of a width that no recipe has, but with a recipe's channels."""
    torch.manual_seed(0)
    state = {
        "gen": published_state(generator_layout(MODEL)),
        "dis": published_state(discriminator_layout(MODEL)),
    }
    torch.save(state, tmp_path / "published.pt")
    return tmp_path / "published.pt"


def test_a_model_folder_is_adapted_and_known_by_the_digest_that_the_registry_has(model_folder):
    initial = read_initial_model(str(model_folder), EXPERIMENT)
    assert initial.generator.config == EXPERIMENT.model
    assert torch.equal(
        initial.generator.motion_basis.weight[:, :3], load_generator(model_folder).motion_basis.weight
    )
    assert initial.discriminator is None
    assert initial.reference == str(model_folder)
    files = [(model_folder / name).read_bytes() for name in ("config.json", "model.safetensors")]
    assert initial.digest == hashlib.sha256(b"".join(files)).hexdigest()


def test_a_published_checkpoint_brings_its_discriminator_where_the_sizes_agree(checkpoint):
    initial = read_initial_model(str(checkpoint), EXPERIMENT)
    assert initial.digest == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert initial.discriminator is not None
    networks = Networks.create(
        EXPERIMENT, initial=initial.generator, initial_discriminator=initial.discriminator
    )
    theirs = torch.load(checkpoint, weights_only=True)
    assert torch.equal(networks.discriminator.conv.weight, theirs["dis"]["final_conv.0.weight"])
    assert torch.equal(networks.generator.motion_basis.weight[:, :3], theirs["gen"]["dec.direction.weight"])
    assert read_initial_model(str(checkpoint), AT_64).discriminator is None
    alone = replace(EXPERIMENT, loss=LossConfig(adversarial=0.0))
    assert read_initial_model(str(checkpoint), alone).discriminator is None


def test_a_checkpoint_without_discriminator_will_do(checkpoint):
    torch.save({"gen": torch.load(checkpoint, weights_only=True)["gen"]}, checkpoint)
    assert read_initial_model(str(checkpoint), EXPERIMENT).discriminator is None


def test_what_was_saved_is_loaded_and_changes_are_noticed(checkpoint, model_folder, tmp_path):
    initial = read_initial_model(str(checkpoint), EXPERIMENT)
    folder = tmp_path / "initial"
    digest = save_initial_model(folder, initial)
    assert digest == digest_initial_model(folder)
    generator, discriminator = load_initial_model(folder)
    for network, saved in ((generator, initial.generator), (discriminator, initial.discriminator)):
        for name, weight in saved.state_dict().items():
            assert torch.equal(network.state_dict()[name], weight)

    # Another model in the same folder leaves nothing of the first one.
    other = save_initial_model(folder, read_initial_model(str(model_folder), EXPERIMENT))
    assert other not in (digest, None)
    assert load_initial_model(folder)[1] is None
    (folder / "model.safetensors").unlink()
    assert digest_initial_model(folder) is None


def test_what_cannot_be_begun_with_is_named(model_folder):
    fewer = replace(EXPERIMENT, model=replace(MODEL, motion_dim=2))
    with pytest.raises(WeightsError, match=r"model: the model has 3 motion directions, 2 are wanted"):
        read_initial_model(str(model_folder), fewer)
    with pytest.raises(InputError, match="no such model"):
        read_initial_model(str(model_folder / "absent"), EXPERIMENT)
