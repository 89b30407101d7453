"""FID's Inception network against a computation written block by block, and what it must not be mistaken for."""

import pytest
import torch
from torch.nn import functional as F

from lia_model.inception import INCEPTION_FEATURES, INPUT_SIZE, InceptionFeatures, load_inception
from lia_model.weights import WeightsError
from tests.seeded_weights import seeded


@pytest.fixture(scope="module")
def network():
    found = InceptionFeatures()
    seeded(found)
    return found


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, INPUT_SIZE, INPUT_SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Reference:
    """The network's layers by name, one call a convolution, with nothing but its tensors."""

    def __init__(self, state):
        self.state = state

    def conv(self, x, name, stride=1, padding=0):
        weight, scale, shift, mean, variance = (
            self.state[f"{name}.{part}"]
            for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        x = F.conv2d(x, weight, stride=stride, padding=padding)
        by_channel = [tensor[:, None, None] for tensor in (scale, shift, mean, variance)]
        return ((x - by_channel[2]) / (by_channel[3] + 0.001).sqrt() * by_channel[0] + by_channel[1]).relu()

    def row(self, x, block, *steps):
        for name, *arguments in steps:
            x = self.conv(x, f"{block}.{name}", *arguments)
        return x

    def features(self, x, last_pool):
        x = self.conv(x, "Conv2d_1a_3x3", 2)
        x = self.conv(self.conv(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3", 1, 1)
        x = F.max_pool2d(x, 3, 2)
        x = F.max_pool2d(self.conv(self.conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
        for name in "bcd":
            x = self.fine(x, f"Mixed_5{name}")
        x = self.smaller(
            x,
            "Mixed_6a",
            [("branch3x3", 2)],
            [("branch3x3dbl_1",), ("branch3x3dbl_2", 1, 1), ("branch3x3dbl_3", 2)],
        )
        for name in "bcde":
            x = self.middle(x, f"Mixed_6{name}")
        x = self.smaller(
            x,
            "Mixed_7a",
            [("branch3x3_1",), ("branch3x3_2", 2)],
            [("branch7x7x3_1",), ("branch7x7x3_2", 1, (0, 3)), ("branch7x7x3_3", 1, (3, 0)), ("branch7x7x3_4", 2)],
        )  # fmt: skip
        x = self.coarse(self.coarse(x, "Mixed_7b", neighbours), "Mixed_7c", last_pool)
        return x.flatten(2).mean(2)

    def fine(self, x, block):
        threes = [("branch3x3dbl_1",), ("branch3x3dbl_2", 1, 1), ("branch3x3dbl_3", 1, 1)]
        rows = [[("branch1x1",)], [("branch5x5_1",), ("branch5x5_2", 1, 2)], threes]
        found = [self.row(x, block, *row) for row in rows]
        return torch.cat([*found, self.row(neighbours(x), block, ("branch_pool",))], 1)

    def middle(self, x, block):
        wide, high = (1, (0, 3)), (1, (3, 0))
        sevens = [("branch7x7_1",), ("branch7x7_2", *wide), ("branch7x7_3", *high)]
        doubles = [("branch7x7dbl_1",)] + [
            (f"branch7x7dbl_{number}", *padding)
            for number, padding in zip(range(2, 6), (high, wide, high, wide), strict=True)
        ]
        found = [self.row(x, block, *row) for row in ([("branch1x1",)], sevens, doubles)]
        return torch.cat([*found, self.row(neighbours(x), block, ("branch_pool",))], 1)

    def smaller(self, x, block, *rows):
        return torch.cat([*(self.row(x, block, *row) for row in rows), F.max_pool2d(x, 3, 2)], 1)

    def coarse(self, x, block, pool):
        threes = self.row(x, block, ("branch3x3_1",))
        doubles = self.row(x, block, ("branch3x3dbl_1",), ("branch3x3dbl_2", 1, 1))
        forks = [
            self.row(stem, block, (f"{name}{letter}", 1, padding))
            for stem, name in ((threes, "branch3x3_2"), (doubles, "branch3x3dbl_3"))
            for letter, padding in (("a", (0, 1)), ("b", (1, 0)))
        ]
        pooled = self.row(pool(x), block, ("branch_pool",))
        return torch.cat([self.row(x, block, ("branch1x1",)), *forks, pooled], 1)


def neighbours(x):
    """The mean of each pixel and those around it that there are."""
    window, one_channel_each = torch.ones(1, 1, 3, 3), x.flatten(0, 1)[:, None]
    there = F.conv2d(torch.ones_like(one_channel_each), window, padding=1)
    return (F.conv2d(one_channel_each, window, padding=1) / there).reshape(x.shape)


def maximum(x):
    return F.pad(x, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 1).unfold(3, 3, 1).amax((4, 5))


def test_features_are_those_of_a_computation_block_by_block(network, image):
    found = network(image)
    assert found.shape == (1, INCEPTION_FEATURES)
    assert found.std() > 0.1  # else the comparison would say little
    reference = Reference(network.state_dict())
    torch.testing.assert_close(found, reference.features(image, maximum), rtol=1e-4, atol=1e-4)


def test_number_of_parameters_is_the_published_one(network):
    # torchvision documents 27,161,264 for its Inception v3, with 1,000 classes and an auxiliary classifier.
    auxiliary = 768 * 128 + 128 * 768 * 25 + 2 * (128 + 768) + 769 * 1000
    eight_classes = 8 * (INCEPTION_FEATURES + 1)
    state = network.state_dict()
    statistics = {name for name in state if name.endswith(("running_mean", "running_var"))}
    assert sum(state[name].numel() for name in state.keys() - statistics) == (
        27_161_264 - auxiliary + eight_classes
    )


def test_blocks_have_the_papers_sizes(network, image):
    shapes = []
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
        for name, module in network.named_children()
        if name.startswith("Mixed")
    ]
    network(image)
    for handle in handles:
        handle.remove()
    at_35, at_17, at_8 = (256, 288, 288), (768,) * 5, (1280, 2048, 2048)
    assert shapes == [
        *((channels, 35, 35) for channels in at_35),
        *((channels, 17, 17) for channels in at_17),
        *((channels, 8, 8) for channels in at_8),
    ]


def test_the_last_block_pools_by_maximum_and_the_one_before_by_the_mean_of_what_is_there(network):
    block = network.get_submodule("Mixed_7c")
    x = torch.rand(1, 2048, 8, 8, generator=torch.Generator().manual_seed(2))
    reference = Reference(network.state_dict())
    torch.testing.assert_close(block(x), reference.coarse(x, "Mixed_7c", maximum), rtol=1e-4, atol=1e-4)
    by_mean = reference.coarse(x, "Mixed_7c", neighbours)
    assert not torch.allclose(block(x)[:, -192:], by_mean[:, -192:], atol=1e-2)
    pool = network.get_submodule("Mixed_7b").branches[-1][0]
    torch.testing.assert_close(pool(torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 8, 8))


def test_images_are_clamped_and_resized_as_pytorch_fid_does(network):
    # Twice as large: each pixel lies a quarter of a pixel from the nearest one of the input, on the grid of centres.
    ramp = torch.linspace(-2, 2, 598)[None, None, None].expand(1, 3, 598, 598)
    seen = []
    handle = network.Conv2d_1a_3x3.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network(ramp)
    handle.remove()
    assert seen[0].shape == (1, 3, INPUT_SIZE, INPUT_SIZE)
    pairs = ramp.clamp(-1, 1).unflatten(3, (299, 2)).mean(4)[:, :, ::2]
    torch.testing.assert_close(seen[0], pairs, rtol=0, atol=1e-6)


def test_loads_the_published_layout(network, tmp_path):
    counts = {"Mixed_7c.branch1x1.bn.num_batches_tracked": torch.tensor(1)}
    torch.save({**network.state_dict(), **counts}, tmp_path / "pt_inception.pth")
    loaded = load_inception(tmp_path / "pt_inception.pth")
    assert all(
        torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items()
    )
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": torch.zeros(1000, 2048)}, r"fc\.weight has shape \(1000, 2048\)"),
        ({"AuxLogits.fc.bias": torch.zeros(1000)}, r"unknown tensors AuxLogits\.fc\.bias"),
    ],
    ids=["classes", "auxiliary-classifier"],
)
def test_torchvisions_own_weights_are_refused(network, tmp_path, change, message):
    torch.save({**network.state_dict(), **change}, tmp_path / "inception_v3_google.pth")
    with pytest.raises(WeightsError, match=rf"inception_v3_google\.pth: .*{message}"):
        load_inception(tmp_path / "inception_v3_google.pth")


def test_other_pickles_are_refused(network, tmp_path):
    torch.save(network, tmp_path / "module.pth")
    with pytest.raises(WeightsError, match=r"module\.pth: refused: .*use a file of tensors alone"):
        load_inception(tmp_path / "module.pth")
