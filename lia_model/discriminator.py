"""The discriminator of StyleGAN2, as LIA trains against it."""
# B batch, C channels, H height, W width, G samples a group, N groups

import torch
from torch import Tensor

from lia_model.config import LiaConfig
from lia_model.encoder import convolution_tower
from lia_model.layers import ACT_GAIN, EqualConv2d, EqualLinear, without_autocast
from lia_model.recompute import Recomputing

_GROUP_SIZE = 4
_STDDEV_EPS = 1e-8


def append_minibatch_stddev(x_BCHW: Tensor) -> Tensor:
    """Append a channel that tells how much the samples of a group differ: (B,C+1,H,W).

    Groups hold as many samples as divide the batch, at most four; sample i belongs to group i mod N.
    """
    batch, channels, height, width = x_BCHW.shape
    group = max(size for size in range(1, _GROUP_SIZE + 1) if batch % size == 0)
    x_GNCHW = x_BCHW.reshape(group, batch // group, channels, height, width)
    stddev_NCHW = torch.sqrt(x_GNCHW.var(0, unbiased=False) + _STDDEV_EPS)
    stddev_N = stddev_NCHW.mean((1, 2, 3))
    return torch.cat((x_BCHW, stddev_N.repeat(group)[:, None, None, None].expand(-1, 1, height, width)), 1)


class Discriminator(Recomputing):
    """Image (B,3,H,W) -> logit (B,1), high for real."""

    def __init__(self, config: LiaConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels(4)
        self.stem, self.blocks = convolution_tower(config)
        self.conv = EqualConv2d(channels + 1, channels, 3, padding=1, bias=True, act=True, gain=ACT_GAIN)
        self.hidden = EqualLinear(channels * 4 * 4, channels, act=True)
        self.logit = EqualLinear(channels, 1)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        x: Tensor = self.stem(image_B3HW)
        for block in self.blocks:
            x = self.run(block, x)
        with without_autocast(x):  # small products; a logit in bfloat16 would be a loss of three digits
            x = self.conv(append_minibatch_stddev(x.to(self.conv.weight.dtype)))
            logit_B1: Tensor = self.logit(self.hidden(x.flatten(1)))
        return logit_B1
