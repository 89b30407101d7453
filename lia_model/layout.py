"""Layout of activations in memory: a network works in the layout of the images it is given.

Channels innermost is the faster one on CPUs and on the matrix units of GPUs, if nothing on the way breaks it.
"""
# B batch, C channels, H height, W width

import torch
from torch import Tensor


def channels_last(image_BCHW: Tensor) -> Tensor:
    """The same images with their channels innermost."""
    return image_BCHW.contiguous(memory_format=torch.channels_last)


def in_layout_of(like_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
    """`x` with its channels innermost if those of `like` are; else as it is."""
    if like_BCHW.is_contiguous():
        return x_BCHW
    return channels_last(x_BCHW) if like_BCHW.is_contiguous(memory_format=torch.channels_last) else x_BCHW
