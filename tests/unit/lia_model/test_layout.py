"""Channels innermost stays so from the images to every block's output and gradient: nothing is laid out anew."""

import pytest
import torch
from torch import Tensor

from lia_model.animation import animate
from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.layout import channels_last, in_layout_of
from lia_model.losses import PerceptualLoss
from lia_model.vgg import VggFeatures, normalise

CONFIG = LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=1 / 16)


def is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(CONFIG)


@pytest.fixture
def broken(generator):
    """Names of the blocks whose output, or its gradient, had its channels elsewhere."""
    broken: list[str] = []

    def watch(name: str):
        def look(module, inputs, output):
            tensors = output if isinstance(output, tuple) else (output,)
            for tensor in tensors:
                if tensor.dim() == 4 and tensor.shape[1] > 3:
                    broken.extend([name] * (not is_channels_last(tensor)))
                    if tensor.requires_grad:
                        tensor.register_hook(
                            lambda gradient: broken.extend(
                                [f"{name}, backward"] * (not is_channels_last(gradient))
                            )
                        )

        return look

    for name, module in generator.named_modules():
        if ".stages." in name or ".blocks." in name:
            module.register_forward_hook(watch(name))
    return broken


def test_blocks_keep_the_layout_of_the_images_forward_and_backward(generator, broken):
    source, driving = (channels_last(torch.rand(2, 3, 32, 32) * 2 - 1) for _ in range(2))
    image = generator(source, driving)
    assert is_channels_last(image)
    image.square().sum().backward()
    assert broken == []


def test_blocks_keep_it_where_one_source_serves_many_driving_frames(generator, broken):
    source, *driving = torch.rand(4, 3, 32, 32) * 2 - 1
    images = list(animate(generator, source[None], driving, batch_size=3))
    assert len(images) == 3
    assert broken == []


def test_perceptual_features_keep_the_layout():
    image, target = (channels_last(torch.rand(1, 3, 64, 64)) for _ in range(2))
    assert is_channels_last(normalise(image))
    vgg = VggFeatures()
    assert all(is_channels_last(feature) for feature in vgg(image))
    rows = torch.rand(1, 3, 64, 64)
    loss = PerceptualLoss(vgg)
    torch.testing.assert_close(loss(image, target)[0], loss(image.contiguous(), target.contiguous())[0])
    assert normalise(rows).is_contiguous()


@pytest.mark.parametrize("last", [False, True])
def test_in_layout_of(last):
    like, x = torch.rand(2, 4, 3, 3), torch.rand(2, 5, 3, 3)
    like = channels_last(like) if last else like
    assert is_channels_last(in_layout_of(like, x)) == last
    assert torch.equal(in_layout_of(like, x), x)
    assert is_channels_last(in_layout_of(like[:1].expand(2, -1, -1, -1), x)) == last
