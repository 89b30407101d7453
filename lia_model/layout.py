"""Layout of activations in memory: a network works in the layout of the images it is given.

Channels innermost is the faster one on CPUs and on the matrix units of GPUs, if nothing on the way breaks it.
"""
# B batch, C channels, H height, W width

from typing import Any

import torch
from torch import Tensor


def channels_last(image_BCHW: Tensor) -> Tensor:
    """The same images with their channels innermost."""
    return image_BCHW.contiguous(memory_format=torch.channels_last)


def in_layout_of(like_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
    """`x` with its channels innermost if those of `like` are; else as it is."""
    one_1CHW = like_BCHW[:1]  # of an image that serves a whole batch, all have the same place in memory
    if one_1CHW.is_contiguous():
        return x_BCHW
    return channels_last(x_BCHW) if one_1CHW.is_contiguous(memory_format=torch.channels_last) else x_BCHW


def gradient_in_layout_of(x_BCHW: Tensor) -> Tensor:
    """`x` itself; its gradient comes to it in its own layout, if that is channels innermost.

    For what goes into operations that hand back gradients laid out otherwise: added to others, such a gradient would
    slow all that comes after it.
    """
    if x_BCHW.is_contiguous() or not x_BCHW.is_contiguous(memory_format=torch.channels_last):
        return x_BCHW
    same_BCHW: Tensor = _ChannelsLastGradient.apply(x_BCHW)  # type: ignore[no-untyped-call]
    return same_BCHW


class _ChannelsLastGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.view_as(x_BCHW)

    @staticmethod
    def backward(ctx: Any, gradient_BCHW: Tensor) -> Tensor:
        return channels_last(gradient_BCHW)
