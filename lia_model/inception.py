"""The Inception network of FID (Heusel et al., 2017): Inception v3 (Szegedy et al., 2016) as TensorFlow's file of 2015.

Papers' FID rests on that file. pytorch-fid converted it under torchvision's names, and torch-fidelity passes the same
file on. It differs from torchvision's own Inception v3 in weights, in the number of classes (1,008) and in four places
of the layout: average pools do not count their padding, and the last block pools by maximum.

Images are resized as pytorch-fid does it: bilinearly (align_corners=False), not antialiased, so that of images larger
than 299 px some pixels are passed over. TensorFlow's own graph does not antialias either, but aligns the first pixels'
centres, which shifts the image by a part of a pixel, and scales pixels p by (p - 128) / 128 where pytorch-fid has
(p - 127.5) / 127.5; torch-fidelity follows TensorFlow in both. Distances by the two are therefore not quite the same.
"""
# B batch, C channels, H height, W width

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lia_model.batch_norm import FrozenBatchNorm, without_counts
from lia_model.layout import channels_last
from lia_model.plain_data import load_state_dict
from lia_model.weights import load_tensors

INCEPTION_FEATURES = 2048
"""Length of the feature vector, "pool3"."""
INPUT_SIZE = 299
"""Side in pixels of the images that the network was trained on."""
_CLASSES = 1008
_BATCH_NORM_EPSILON = 1e-3


class _Layer(NamedTuple):
    """A convolution in a block: those of stride 1 keep the size, those of stride 2 are not padded."""

    name: str
    channels: int
    kernel: tuple[int, int]
    stride: int = 1


_Pool = Callable[[Tensor], Tensor]
_Branch = Sequence[_Pool | tuple[_Layer, ...]]
"""Pools and convolutions one after the other; of several convolutions in one place the outputs are joined."""


def _average(x_BCHW: Tensor) -> Tensor:
    return F.avg_pool2d(x_BCHW, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x_BCHW: Tensor) -> Tensor:
    return F.max_pool2d(x_BCHW, 3, stride=1, padding=1)


def _halve(x_BCHW: Tensor) -> Tensor:
    return F.max_pool2d(x_BCHW, 3, stride=2)


def _chain(name: str, *layers: tuple[int, tuple[int, int]]) -> list[tuple[_Layer, ...]]:
    """Convolutions of stride 1 one after the other, numbered from 1 unless there is but one."""
    names = [f"{name}_{number}" for number in range(1, len(layers) + 1)] if len(layers) > 1 else [name]
    return [(_Layer(name, *layer),) for name, layer in zip(names, layers, strict=True)]


_1X1, _3X3, _5X5, _1X7, _7X1 = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def _fine(pooled: int) -> list[_Branch]:
    """At 35 x 35 (figure 5 of the paper)."""
    return [
        _chain("branch1x1", (64, _1X1)),
        _chain("branch5x5", (48, _1X1), (64, _5X5)),
        _chain("branch3x3dbl", (64, _1X1), (96, _3X3), (96, _3X3)),
        [_average, *_chain("branch_pool", (pooled, _1X1))],
    ]


def _from_35_to_17() -> list[_Branch]:
    return [
        [(_Layer("branch3x3", 384, _3X3, stride=2),)],
        [
            *_chain("branch3x3dbl", (64, _1X1), (96, _3X3)),
            (_Layer("branch3x3dbl_3", 96, _3X3, stride=2),),
        ],
        [_halve],
    ]


def _middle(width: int) -> list[_Branch]:
    """At 17 x 17 (figure 6)."""
    return [
        _chain("branch1x1", (192, _1X1)),
        _chain("branch7x7", (width, _1X1), (width, _1X7), (192, _7X1)),
        _chain("branch7x7dbl", (width, _1X1), (width, _7X1), (width, _1X7), (width, _7X1), (192, _1X7)),
        [_average, *_chain("branch_pool", (192, _1X1))],
    ]


def _from_17_to_8() -> list[_Branch]:
    return [
        [*_chain("branch3x3_1", (192, _1X1)), (_Layer("branch3x3_2", 320, _3X3, stride=2),)],
        [
            *_chain("branch7x7x3", (192, _1X1), (192, _1X7), (192, _7X1)),
            (_Layer("branch7x7x3_4", 192, _3X3, stride=2),),
        ],
        [_halve],
    ]


def _coarse(pool: _Pool) -> list[_Branch]:
    """At 8 x 8 (figure 7)."""

    def fork(name: str) -> tuple[_Layer, ...]:
        return _Layer(f"{name}a", 384, (1, 3)), _Layer(f"{name}b", 384, (3, 1))

    return [
        _chain("branch1x1", (320, _1X1)),
        [*_chain("branch3x3_1", (384, _1X1)), fork("branch3x3_2")],
        [*_chain("branch3x3dbl", (448, _1X1), (384, _3X3)), fork("branch3x3dbl_3")],
        [pool, *_chain("branch_pool", (192, _1X1))],
    ]


_BLOCKS = {
    "Mixed_5b": _fine(32),
    "Mixed_5c": _fine(64),
    "Mixed_5d": _fine(64),
    "Mixed_6a": _from_35_to_17(),
    "Mixed_6b": _middle(128),
    "Mixed_6c": _middle(160),
    "Mixed_6d": _middle(160),
    "Mixed_6e": _middle(192),
    "Mixed_7a": _from_17_to_8(),
    "Mixed_7b": _coarse(_average),
    "Mixed_7c": _coarse(_maximum),
}


class InceptionFeatures(nn.Module):
    """Images (B,3,H,W) in [-1,1] -> "pool3", the 2,048 features before the classifier: (B,2048).

    Images are clamped and resized to 299 x 299 inside. Everything is frozen, statistics of batch normalisation
    included. The classifier `fc` is there because the file has it, and tells it from torchvision's; it is never run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, _3X3, stride=2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, _3X3)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, _3X3, padding=(1, 1))
        self.Conv2d_3b_1x1 = _Convolution(64, 80, _1X1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, _3X3)
        channels = 192
        for name, branches in _BLOCKS.items():
            block = _Block(channels, branches)
            self.add_module(name, block)
            channels = block.channels
        self.fc = nn.Linear(channels, _CLASSES)
        self.requires_grad_(False)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        size = (INPUT_SIZE, INPUT_SIZE)
        x = channels_last(F.interpolate(image_B3HW.clamp(-1, 1), size, mode="bilinear", align_corners=False))
        x = _halve(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = _halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


class _Block(nn.Module):
    """Branches side by side; their outputs are joined. Convolutions are its modules, by their names."""

    def __init__(self, before: int, branches: Sequence[_Branch]) -> None:
        super().__init__()
        self.branches = branches
        self.channels = sum(self._build(before, branch) for branch in branches)
        """Of the output."""

    def _build(self, channels: int, branch: _Branch) -> int:
        """Make the branch's convolutions; the channels that come out of it."""
        for step in branch:
            if isinstance(step, tuple):
                for layer in step:
                    self.add_module(layer.name, _of_layer(channels, layer))
                channels = sum(layer.channels for layer in step)
        return channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x_BCHW) for branch in self.branches], 1)

    def _run(self, branch: _Branch, x_BCHW: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, tuple):
                x_BCHW = torch.cat([self.get_submodule(layer.name)(x_BCHW) for layer in step], 1)
            else:
                x_BCHW = step(x_BCHW)
        return x_BCHW


class _Convolution(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride=stride, padding=padding, bias=False)
        self.bn = FrozenBatchNorm(after, _BATCH_NORM_EPSILON)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x_BCHW)))


def _of_layer(before: int, layer: _Layer) -> _Convolution:
    height, width = layer.kernel
    padding = (height // 2, width // 2) if layer.stride == 1 else (0, 0)
    return _Convolution(before, layer.channels, layer.kernel, stride=layer.stride, padding=padding)


def load_inception(path: Path | str) -> InceptionFeatures:
    """The network with the weights of pytorch-fid's .pth or a .safetensors file of the same names.

    Raises WeightsError, also of torchvision's file, which is another network's.
    """
    state = load_state_dict(path)
    features = InceptionFeatures()
    load_tensors(features, without_counts(state), str(path))
    return features
