"""Appearance encoder: an image becomes a latent code and a pyramid of features (LIA, section 3.1)."""
# B batch, C channels, H height, W width, S style_dim

import math
from itertools import pairwise

from torch import Tensor, nn

from lia_model.config import LiaConfig
from lia_model.fir import FirBlur, FirDownsample
from lia_model.layers import ACT_GAIN, EqualConv2d, without_autocast
from lia_model.recompute import Recomputing


class ResidualBlock(nn.Module):
    """Halve the resolution: (B,C,H,W) -> (B,D,H/2,W/2). Both branches carry the sum's 1/sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = EqualConv2d(in_channels, in_channels, 3, padding=1, bias=True, act=True, gain=ACT_GAIN)
        self.blur = FirBlur(in_channels, padding=2)
        self.down = EqualConv2d(
            in_channels, out_channels, 3, stride=2, bias=True, act=True, gain=ACT_GAIN / math.sqrt(2)
        )
        self.skip_down = FirDownsample(in_channels)
        self.skip = EqualConv2d(in_channels, out_channels, 1, gain=1 / math.sqrt(2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        branch: Tensor = self.down(self.blur(self.conv(x_BCHW)))
        shortcut: Tensor = self.skip(self.skip_down(x_BCHW))
        return branch + shortcut


def convolution_tower(config: LiaConfig) -> tuple[EqualConv2d, nn.ModuleList]:
    """Stem and residual blocks from the image down to 4x4, as encoder and discriminator both have them."""
    fine_to_coarse = (*reversed(config.resolutions()), 4)
    stem = EqualConv2d(3, config.channels(config.image_size), 1, bias=True, act=True, gain=ACT_GAIN)
    channels = [config.channels(resolution) for resolution in fine_to_coarse]
    return stem, nn.ModuleList(ResidualBlock(before, after) for before, after in pairwise(channels))


class Encoder(Recomputing):
    """Image (B,3,H,W) -> appearance code (B,S) and features from 8x8 up to full resolution."""

    def __init__(self, config: LiaConfig) -> None:
        super().__init__()
        self.stem, self.blocks = convolution_tower(config)
        self.head = EqualConv2d(config.channels(4), config.style_dim, 4)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, list[Tensor]]:
        x: Tensor = self.stem(image_B3HW)
        fine_to_coarse = []
        for block in self.blocks:
            fine_to_coarse.append(x)
            x = self.run(block, x)
        with without_autocast(x):  # a small product; everything downstream hangs on the code's precision
            code_BS: Tensor = self.head(x.to(self.head.weight.dtype)).flatten(1)
        return code_BS, fine_to_coarse[::-1]
