"""lia_model against the reference formulation, in float64, at toy size: values, gradients and published names."""

import pytest
import torch
from torch import Tensor

from lia_model.published import discriminator_layout, generator_layout
from tests.parity import reference, seeded
from tests.parity.implementations import seeded_networks
from tests.parity.make_golden import forward, images
from tests.parity.seeded import SeededWeights
from tests.parity.toys import TOYS, Toy

# The two differ only in the order of float64 operations.
TOLERANCE = 1e-9

toys = pytest.mark.parametrize("toy", [pytest.param(toy, id=name) for name, toy in TOYS.items()])


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


@toys
def test_outputs(toy: Toy) -> None:
    generator, discriminator = (network.double() for network in seeded_networks(toy.config))
    source, driving, start = images(toy.batch, toy.config.image_size)
    expected = forward(toy)
    with torch.no_grad():
        assert_close(generator.encode(source)[0], expected["wa"])
        assert_close(generator.motion(generator.encode(driving)[0]), expected["alpha_driving"])
        assert_close(generator.directions(), expected["directions"])
        assert_close(generator(source, driving), expected["recon"])
        assert_close(generator(source), expected["reference_image"])
        assert_close(generator.relative(source, driving, start), expected["relative"])
        assert_close(discriminator(source), expected["logits"])


def test_minibatch_groups() -> None:
    """Eight samples make two interleaved groups of four."""
    toy = TOYS["32"]
    discriminator = seeded_networks(toy.config)[1].double()
    batch = seeded.image("groups", 8, toy.config.image_size).double()
    with torch.no_grad():
        assert_close(discriminator(batch), reference.discriminate(SeededWeights("dis"), toy.sizes, batch))


@toys
@pytest.mark.parametrize("network", ["gen", "dis"])
def test_published_names(toy: Toy, network: str) -> None:
    """What the reference reads, and what a checkpoint holds besides, is what the reader expects: name and shape."""
    weights = SeededWeights(network)
    source, driving, _ = images(toy.batch, toy.config.image_size)
    with torch.no_grad():
        if network == "gen":
            reference.generate(weights, toy.sizes, source, driving)
            layout, unused = generator_layout(toy.config), unused_by_generator(toy)
        else:
            reference.discriminate(weights, toy.sizes, source)
            layout, unused = discriminator_layout(toy.config), filters("", toy)
    read = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    assert {tensor.name: tensor.shape for tensor in layout} == read | unused


def filters(prefix: str, toy: Toy) -> dict[str, tuple[int, ...]]:
    blocks = range(1, len(toy.sizes.resolutions()) + 1)
    return {f"{prefix}convs.{i}.{part}.0.kernel": (4, 4) for i in blocks for part in ("conv2", "skip")}


def unused_by_generator(toy: Toy) -> dict[str, tuple[int, ...]]:
    stages = range(len(toy.sizes.resolutions()))
    layers = ["dec.conv1", *(f"dec.convs.{i}" for i in range(2 * len(stages)))]
    heads = [f"dec.{head}.{stage}.upsample.kernel" for head in ("to_rgbs", "to_flows") for stage in stages]
    return {
        **filters("enc.net_app.", toy),
        **{f"{layer}.noise.weight": (1,) for layer in layers},
        **{f"dec.convs.{2 * stage}.conv.blur.kernel": (4, 4) for stage in stages},
        **dict.fromkeys(heads, (4, 4)),
        "dec.to_rgb1.bias": (1, 3, 1, 1),
        "dec.to_rgb1.conv.0.weight": (3, toy.sizes.channels[4], 1, 1),
        "dec.to_rgb1.conv.1.bias": (1, 3, 1, 1),
    }


def test_generator_gradients() -> None:
    """Gradients with respect to every parameter, by way of a loss that weighs all pixels differently."""
    toy = TOYS["32"]
    source, driving, _ = images(toy.batch, toy.config.image_size)
    weights = SeededWeights("gen")
    generator = seeded_networks(toy.config)[0].double()
    pixels = seeded.normal("pixel weights", *source.shape)
    (reference.generate(weights, toy.sizes, source, driving) * pixels).sum().backward()
    (generator(source, driving) * pixels).sum().backward()
    assert_same_gradients(dict(generator.named_parameters()), weights, generator_layout(toy.config))


def test_discriminator_gradients() -> None:
    toy = TOYS["32"]
    source, driving, _ = images(toy.batch, toy.config.image_size)
    batch = torch.cat([source, driving])
    weights = SeededWeights("dis")
    discriminator = seeded_networks(toy.config)[1].double()
    reference.discriminate(weights, toy.sizes, batch).square().sum().backward()
    discriminator(batch).square().sum().backward()
    assert_same_gradients(dict(discriminator.named_parameters()), weights, discriminator_layout(toy.config))


def assert_same_gradients(parameters: dict[str, Tensor], weights: SeededWeights, layout: list) -> None:
    ours = {tensor.name: parameters[tensor.ours].grad for tensor in layout if tensor.ours is not None}
    assert ours.keys() == weights.tensors.keys()
    for name, theirs in weights.tensors.items():
        assert_close(ours[name].reshape(theirs.shape), theirs.grad)
