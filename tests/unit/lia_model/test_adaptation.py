"""What a generator has learned survives another number of directions or another image size."""

from dataclasses import replace

import pytest
import torch

from lia_model.adaptation import adapt_generator
from lia_model.config import LiaConfig
from lia_model.fir import FirDownsample, FirUpsample
from lia_model.generator import Generator
from lia_model.weights import WeightsError


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return tuple(torch.rand(2, 2, 3, 128, 128, dtype=torch.float64) * 2 - 1)


def halved(image: torch.Tensor) -> torch.Tensor:
    return FirDownsample(3)(image)


def doubled(image: torch.Tensor) -> torch.Tensor:
    return FirUpsample(3)(image)


def test_the_same_sizes_give_the_same_weights(toy, toy_config):
    adapted = adapt_generator(toy, toy_config, seed=5)
    assert adapted.config == toy_config
    for name, weight in toy.state_dict().items():
        assert torch.equal(adapted.state_dict()[name], weight)


@torch.no_grad()
@pytest.mark.parametrize(("style_dim", "before", "after"), [(16, 3, 5), (16, 3, 16), (128, 20, 100)])
def test_more_directions_leave_images_and_old_directions_as_they_are(style_dim, before, after, pair):
    torch.manual_seed(0)
    config = LiaConfig(image_size=32, style_dim=style_dim, motion_dim=before, width=1 / 64)
    generator = Generator(config).double()
    adapted = adapt_generator(generator, replace(config, motion_dim=after), seed=0)
    directions = adapted.directions()
    torch.testing.assert_close(directions[:, :before], generator.directions(), rtol=0, atol=1e-13)
    torch.testing.assert_close(directions.mT @ directions, torch.eye(after).double(), rtol=0, atol=1e-12)
    source, driving = (halved(halved(image)) for image in pair)
    image, magnitude = adapted.reconstruct(source, driving)
    expected, expected_magnitude = generator.reconstruct(source, driving)
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-12)
    # A matrix product of another width is rounded otherwise on some processors.
    torch.testing.assert_close(magnitude[:, :before], expected_magnitude, rtol=0, atol=1e-14)
    assert not magnitude[:, before:].any()


@torch.no_grad()
@pytest.mark.parametrize("levels", [1, 2])
def test_a_larger_model_begins_with_the_smaller_ones_images(levels, toy, toy_config, pair):
    """Halved by the model's filter on the way in, doubled by it on the way out, to rounding."""
    config = replace(toy_config, image_size=32 << levels, motion_dim=4)
    adapted = adapt_generator(toy, config, seed=0)
    assert adapted.config == config
    source, driving = pair if levels == 2 else map(halved, pair)
    small_source, small_driving = source, driving
    for _ in range(levels):
        small_source, small_driving = halved(small_source), halved(small_driving)
    expected = toy(small_source, small_driving)
    assert expected.std() > 0.01
    for _ in range(levels):
        expected = doubled(expected)
    torch.testing.assert_close(adapted(source, driving), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_smaller_model_begins_with_the_shared_parts_and_a_stem_for_plain_colours(toy, toy_config, pair):
    large = adapt_generator(toy, replace(toy_config, image_size=64), seed=0)
    again = adapt_generator(large, toy_config, seed=9)
    source, driving = (halved(halved(image)) for image in pair)
    torch.testing.assert_close(again(source, driving), toy(source, driving), rtol=0, atol=1e-6)

    torch.manual_seed(2)
    other = Generator(replace(toy_config, image_size=64)).double()  # its finest block does far more than that
    adapted = adapt_generator(other, toy_config, seed=0)
    finer = other.encoder.blocks.state_dict()
    for name, weight in adapted.encoder.blocks.state_dict().items():
        block, _, rest = name.partition(".")
        assert torch.equal(weight, finer[f"{int(block) + 1}.{rest}"])
    images = (torch.rand(64, 3, 1, 1).double() * 2 - 1).expand(-1, -1, 64, 64)
    wanted = other.encoder.blocks[0](other.encoder.stem(images))[:, :, 16, 16]
    error, fresh_error = (
        float((generator.encoder.stem(images)[:, :, 16, 16] - wanted).square().mean())
        for generator in (adapted, Generator(toy_config).double())
    )
    assert error < 0.1 * fresh_error


def test_every_parameter_of_a_larger_model_learns_from_the_second_step_on(toy, toy_config, pair):
    adapted = adapt_generator(toy, replace(toy_config, image_size=64, motion_dim=5), seed=0)
    optimiser = torch.optim.SGD(adapted.parameters(), lr=1e-3)
    source, driving = map(halved, pair)
    for _ in range(3):
        optimiser.zero_grad()
        (adapted(source, driving) - driving).abs().mean().backward()
        optimiser.step()
    still = [name for name, weight in adapted.named_parameters() if not weight.grad.any()]
    assert still == []


def test_new_parameters_depend_on_the_seed_alone(toy, toy_config):
    config = replace(toy_config, image_size=64, motion_dim=5)
    state = torch.get_rng_state()
    first, second, other = (adapt_generator(toy, config, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["motion_basis.weight"][:, 3:], other["motion_basis.weight"][:, 3:])
    assert not torch.equal(first["synthesis.stages.3.up.weight"], other["synthesis.stages.3.up.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"motion_dim": 2}, ["3 motion directions", "2 are wanted"], id="fewer-directions"),
        pytest.param({"style_dim": 24}, ["style_dim = 16", "24"], id="style"),
        pytest.param({"width": 1 / 16}, ["width = 0.015625", "0.0625"], id="width"),
        pytest.param(
            {"style_dim": 8, "width": 1 / 16}, ["style_dim = 16 (wanted: 8)", "width"], id="two-at-once"
        ),
    ],
)
def test_sizes_that_do_not_go_together_are_named(change, words, toy, toy_config):
    with pytest.raises(WeightsError) as refused:
        adapt_generator(toy, replace(toy_config, **change), seed=0)
    assert all(word in str(refused.value) for word in words)
    assert "\n" not in str(refused.value)


def test_another_multiplier_matters_only_where_both_models_have_multiplied_channels():
    config = LiaConfig(image_size=64, style_dim=4, motion_dim=1, width=1 / 16)
    doubled_config = replace(config, channel_multiplier=2)
    with pytest.raises(WeightsError, match=r"channel_multiplier = 1 \(wanted: 2\)"):
        adapt_generator(Generator(config), doubled_config, seed=0)
    for found, wanted in (
        (replace(config, image_size=32), doubled_config),
        (doubled_config, replace(config, image_size=32)),
        (replace(doubled_config, image_size=128), replace(config, image_size=32, motion_dim=2)),
    ):
        assert adapt_generator(Generator(found), wanted, seed=0).config == wanted
