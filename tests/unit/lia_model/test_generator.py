import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.motion import move


@pytest.fixture
def images():
    torch.manual_seed(1)
    return [torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1 for _ in range(3)]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_image_has_the_configured_size(size):
    generator = Generator(LiaConfig(image_size=size, style_dim=16, motion_dim=2, width=1 / 64))
    source = torch.zeros(2, 3, size, size)
    assert generator(source, source).shape == source.shape


@pytest.mark.parametrize("size", [512, 1024])
def test_large_models_can_be_built(size):
    with torch.device("meta"):
        generator = Generator(LiaConfig(image_size=size))
    assert generator.synthesis.stages[-1].up.weight.shape[0] == 16 * 1024 // size


def test_forward_composes_the_parts(toy, images):
    source, driving, _ = images
    appearance, features = toy.encode(source)
    magnitude = toy.motion(toy.encode(driving)[0])
    expected = toy.synthesise(move(appearance, magnitude, toy.directions()), features)
    torch.testing.assert_close(toy(source, driving), expected)


def test_reference_image_has_no_motion(toy, images):
    torch.testing.assert_close(toy(images[0]), toy.synthesise(*toy.encode(images[0])))


def test_relative_without_movement_is_the_source_itself(toy, images):
    source, driving, _ = images
    torch.testing.assert_close(toy.relative(source, driving, driving), toy(source, source))


def test_relative_from_the_sources_own_pose_is_absolute(toy, images):
    source, driving, _ = images
    torch.testing.assert_close(toy.relative(source, driving, source), toy(source, driving))


def test_every_parameter_gets_a_gradient(toy, images):
    """As DistributedDataParallel without find_unused_parameters needs it."""
    toy(images[0], images[1]).square().sum().backward()
    assert [name for name, p in toy.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_initialisation_is_that_of_stylegan2(toy):
    for name, parameter in toy.named_parameters():
        if name.endswith("modulation.bias"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
    big = torch.cat([p.flatten() for name, p in toy.named_parameters() if not name.endswith("bias")])
    assert big.mean().item() == pytest.approx(0, abs=0.02)
    assert big.std().item() == pytest.approx(1, abs=0.02)


def test_bfloat16_autocast_trains(toy_config):
    torch.manual_seed(0)
    generator = Generator(toy_config)
    source = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = generator(source, source.flip(3))
    image.float().square().sum().backward()
    assert image.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in generator.parameters())
    assert (image.float() - generator(source, source.flip(3))).abs().mean() < 0.1


def test_channels_last_gives_the_same_image(toy, images):
    source, driving, _ = (image.contiguous(memory_format=torch.channels_last) for image in images)
    torch.testing.assert_close(toy(source, driving), toy(images[0], images[1]))
