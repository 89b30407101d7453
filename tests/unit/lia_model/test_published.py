import argparse
from pathlib import PurePosixPath

import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.published import discriminator_layout, generator_layout, load_discriminator, load_generator
from lia_model.weights import WeightsError


@pytest.fixture
def config():
    return LiaConfig(image_size=64, style_dim=24, motion_dim=5, width=1 / 32, channel_multiplier=4)


def random_state(layout):
    return {tensor.name: torch.randn(tensor.shape) for tensor in layout}


@pytest.fixture
def checkpoint(config):
    """All that the published trainer saves."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.Adam([weight])
    weight.sum().backward()
    optimiser.step()
    return {
        "gen": random_state(generator_layout(config)),
        "dis": random_state(discriminator_layout(config)),
        "g_optim": optimiser.state_dict(),
        "d_optim": optimiser.state_dict(),
        "args": argparse.Namespace(size=64, lr=0.002, exp_path="exps/", resume_ckpt=None),
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy-format"])
def test_reads_a_whole_checkpoint(path, checkpoint, config, zipped):
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    generator, discriminator = load_generator(path), load_discriminator(path)
    assert generator.config == config
    sizes = ("image_size", "width", "channel_multiplier")
    assert all(getattr(discriminator.config, name) == getattr(config, name) for name in sizes)
    gen, dis = checkpoint["gen"], checkpoint["dis"]
    stage = generator.synthesis.stages[2]
    assert torch.equal(generator.motion_basis.weight, gen["dec.direction.weight"])
    assert torch.equal(stage.up.weight, gen["dec.convs.4.conv.weight"][0])
    assert torch.equal(stage.flow.weight, gen["dec.to_flows.2.conv.weight"][0, :, :, 0, 0])
    assert torch.equal(stage.image.bias, gen["dec.to_rgbs.2.bias"].flatten())
    assert torch.equal(discriminator.conv.weight, dis["final_conv.0.weight"])


def test_every_tensor_of_ours_comes_from_exactly_one_of_theirs(path, checkpoint, config):
    torch.save(checkpoint, path)
    ours = [tensor.ours for tensor in generator_layout(config) if tensor.ours is not None]
    assert sorted(ours) == sorted(load_generator(path).state_dict())
    ours = [tensor.ours for tensor in discriminator_layout(config) if tensor.ours is not None]
    assert sorted(ours) == sorted(load_discriminator(path).state_dict())


@pytest.mark.parametrize(
    "wrap", [lambda gen: {"gen": gen}, lambda gen: gen], ids=["gen-only", "bare-state-dict"]
)
def test_reads_smaller_files(path, checkpoint, config, wrap):
    torch.save(wrap(checkpoint["gen"]), path)
    assert load_generator(path).config == config


@pytest.mark.parametrize(
    "fields",
    [
        {"image_size": 32, "motion_dim": 1},
        {"image_size": 64, "motion_dim": 24},
        {"image_size": 64, "channel_multiplier": 2},
        {"image_size": 128, "width": 1 / 64, "channel_multiplier": 8},
    ],
)
def test_sizes_follow_from_shapes(path, fields):
    config = LiaConfig(**{"style_dim": 24, "motion_dim": 5, "width": 1 / 16, **fields})
    torch.save({"gen": random_state(generator_layout(config))}, path)
    assert load_generator(path).config == config


def renamed(state, name, new):
    return {(new if key == name else key): tensor for key, tensor in state.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda g: {}, '"gen" is not a state dict', id="empty"),
        pytest.param(
            lambda g: {"weight": torch.zeros(1)}, "no tensor dec.direction.weight", id="another-network"
        ),
        pytest.param(
            lambda g: {**g, "dec.new": torch.zeros(1)}, "holds unknown tensors dec.new", id="unknown"
        ),
        pytest.param(lambda g: renamed(g, "enc.fc.0.bias", "x"), "lacks enc.fc.0.bias", id="missing"),
        pytest.param(
            lambda g: {**g, "enc.fc.0.bias": torch.zeros(7)},
            r"enc.fc.0.bias has shape \(7,\) where the model has \(24,\)",
            id="other-shape",
        ),
        pytest.param(
            lambda g: {**g, "dec.direction.weight": torch.zeros(5)},
            "has shape .* not 2 axes",
            id="flat-basis",
        ),
        pytest.param(
            lambda g: {**g, "dec.direction.weight": torch.zeros(5, 24)},
            "motion_dim must lie between",
            id="wide-basis",
        ),
        pytest.param(lambda g: {**g, "epoch": 3}, "'epoch' is a int, not a tensor", id="number"),
    ],
)
def test_refuses_other_tensors_in_one_line(path, checkpoint, change, message):
    torch.save({"gen": change(checkpoint["gen"])}, path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_generator(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_pickled_classes_than_the_published_are_refused(path, checkpoint):
    torch.save({**checkpoint, "args": PurePosixPath("x")}, path)
    with pytest.raises(WeightsError, match=r"refused: its pickle wants pathlib\.PurePosixPath"):
        load_generator(path)


def test_checkpoint_without_discriminator(path, checkpoint):
    torch.save({"gen": checkpoint["gen"]}, path)
    with pytest.raises(WeightsError, match="dis"):
        load_discriminator(path)
