import re

import pytest
import torch
from torch.nn import functional as F

from lia_model.efficientnet import FEATURES, INPUT_SIZE, EfficientNetLite0Features, load_efficientnet_lite0
from lia_model.weights import WeightsError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return EfficientNetLite0Features()


def test_number_of_parameters_is_the_published_one(network):
    state = network.state_dict()
    statistics = {name for name in state if name.endswith(("running_mean", "running_var"))}
    classifier = (FEATURES + 1) * 1000
    assert sum(state[name].numel() for name in state.keys() - statistics) == 4_652_008 - classifier


def test_blocks_are_those_of_b0(network):
    blocks = list(network._blocks)
    assert [block._project_conv.out_channels for block in blocks] == [
        16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320
    ]  # fmt: skip
    assert [block._depthwise_conv.kernel_size[0] for block in blocks] == [3, 3, 3, 5, 5] + [3] * 3 + [
        5
    ] * 7 + [3]
    assert [i for i, block in enumerate(blocks) if block._depthwise_conv.stride == (2, 2)] == [1, 3, 5, 11]
    assert [i for i, block in enumerate(blocks) if not block.adds_input] == [0, 1, 3, 5, 8, 11, 15]
    assert not any(re.search("_se_", name) for name in network.state_dict())


def test_features_of_a_batch_are_those_of_each_image_in_any_mode(network):
    images = torch.rand(3, 3, INPUT_SIZE, INPUT_SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    together = network.train()(images)
    assert together.shape == (3, FEATURES)
    for image, features in zip(images, together, strict=True):
        torch.testing.assert_close(network.eval()(image[None])[0], features, rtol=1e-4, atol=1e-5)
    assert ((together >= 0) & (together <= 6)).all()
    assert not together.requires_grad


def test_images_are_clamped_and_resized(network):
    image = torch.rand(1, 3, 128, 96, generator=torch.Generator().manual_seed(2)) * 3 - 1.5
    resized = F.interpolate(
        image.clamp(-1, 1), (INPUT_SIZE, INPUT_SIZE), mode="bicubic", antialias=True, align_corners=False
    )
    seen = []
    handle = network._conv_stem.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network(image)
    handle.remove()
    torch.testing.assert_close(seen[0], ((resized + 1) * 127.5 - 127) / 128)


@pytest.mark.parametrize(("kernel", "before", "after"), [(3, 0, 1), (5, 1, 2)])
def test_strided_convolutions_are_padded_as_in_tensorflow(network, kernel, before, after):
    convolution = next(
        block._depthwise_conv for block in network._blocks
        if block._depthwise_conv.stride == (2, 2) and block._depthwise_conv.kernel_size[0] == kernel
    )  # fmt: skip
    assert convolution.around == (before, after, before, after)
    x = torch.rand(1, convolution.in_channels, 8, 8)
    window = F.pad(x, (before, after, before, after))[:, :, 2 : 2 + kernel, 4 : 4 + kernel]
    by_hand = (window * convolution.weight[:, 0]).sum((2, 3))
    torch.testing.assert_close(convolution(x)[:, :, 1, 2], by_hand)


def test_loads_the_published_layout(network, tmp_path):
    extra = {"_fc.weight": torch.zeros(1000, FEATURES), "_bn0.num_batches_tracked": torch.tensor(1)}
    torch.save({**network.state_dict(), **extra}, tmp_path / "lite0.pth")
    loaded = load_efficientnet_lite0(tmp_path / "lite0.pth")
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded(image), network(image))


def test_refuses_other_networks(network, tmp_path):
    state = network.state_dict()
    state["_conv_head.weight"] = torch.zeros(1280, 384, 1, 1)
    torch.save(state, tmp_path / "b2.pth")
    with pytest.raises(WeightsError, match=r"b2\.pth: _conv_head\.weight has shape \(1280, 384, 1, 1\)"):
        load_efficientnet_lite0(tmp_path / "b2.pth")
