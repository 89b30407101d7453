"""Weights and images that any implementation can make again from nothing but their names."""

import math
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def normal(key: str, *shape: int) -> Tensor:
    """Standard normal numbers that depend on `key` alone, in float64."""
    return torch.from_numpy(np.random.default_rng(crc32(key.encode())).standard_normal(shape))


def weight(network: str, name: str, *shape: int) -> Tensor:
    """A network's tensor by its published name, in float32: N(0,1), but small biases and styles near 1."""
    x = normal(f"{network}.{name}", *shape).float()
    if name.endswith("modulation.bias"):
        x = 1 + 0.1 * x
    elif name.endswith(("bias", "noise.weight")):
        x = 0.1 * x
    return x


def vgg_weight(name: str, *shape: int) -> Tensor:
    """A tensor of VGG by its torchvision name: He's initialisation, so that deep features keep their size."""
    x = normal(f"vgg19.{name}", *shape).float()
    return 0.01 * x if name.endswith("bias") else x * math.sqrt(2 / (shape[1] * 9))


def image(key: str, batch: int, size: int) -> Tensor:
    """Smooth images in [-1,1], in float32: 8x8 noise, enlarged."""
    coarse = normal(key, batch, 3, 8, 8).float()
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(-1, 1)


class SeededWeights:
    """Weights of one network, made in float64 when first asked for; `tensors` keeps them by published name."""

    def __init__(self, network: str) -> None:
        self.network = network
        self.tensors: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        if name not in self.tensors:
            self.tensors[name] = weight(self.network, name, *shape).double().requires_grad_()
        assert self.tensors[name].shape == shape
        return self.tensors[name]
