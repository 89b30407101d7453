"""Synthesis: a latent code becomes flow fields that warp the source's features into an image (LIA, 3.3)."""
# B batch, C channels, H height, W width, P = H*W pixels, S style_dim

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lia_model.config import LiaConfig
from lia_model.fir import FirUpsample
from lia_model.layers import ACT_GAIN, EqualConv2d, EqualLinear, ModulatedConv2d, without_autocast
from lia_model.layout import gradient_in_layout_of, in_layout_of
from lia_model.recompute import Recomputing


class FlowHead(nn.Module):
    """Modulated 1x1 convolution to two flow channels and a mask, added to the coarser head's output."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, channels))
        self.bias = nn.Parameter(torch.zeros(3))
        self.modulation = EqualLinear(style_dim, channels, bias_init=1.0)
        self.upsample = FirUpsample(3)
        self.weight_gain = 1 / math.sqrt(channels)

    def forward(self, hidden_BCHW: Tensor, latent_BS: Tensor, coarser_B3hw: Tensor | None) -> Tensor:
        # Three output channels: here modulating the weights is cheaper than modulating the activations.
        # Outside autocast, since a coordinate near 1 rounded to bfloat16 is off by half a pixel at 256 px.
        with without_autocast(hidden_BCHW):
            style_B1C = self.modulation(latent_BS)[:, None] * self.weight_gain
            flow_B3HW = self._project(hidden_BCHW.to(style_B1C.dtype), self.weight * style_B1C)
            if coarser_B3hw is not None:
                flow_B3HW = flow_B3HW + self.upsample(coarser_B3hw)
            return flow_B3HW

    def _project(self, hidden_BCHW: Tensor, weight_B3C: Tensor) -> Tensor:
        """Each sample by its own matrix, without a change of layout in either direction: (B,3,H,W)."""
        pixels = hidden_BCHW.shape[2:]
        if hidden_BCHW.is_contiguous():
            flow_B3P = torch.baddbmm(self.bias[:, None], weight_B3C, hidden_BCHW.flatten(2))
            flow_B3HW: Tensor = flow_B3P.unflatten(2, pixels)
            return flow_B3HW
        hidden_BPC = hidden_BCHW.permute(0, 2, 3, 1).flatten(1, 2)
        flow_BP3 = torch.baddbmm(self.bias, hidden_BPC, weight_B3C.mT)
        flow_B3HW = flow_BP3.unflatten(1, pixels).permute(0, 3, 1, 2)
        return flow_B3HW


class ImageHead(nn.Module):
    """1x1 convolution to RGB with act and a second bias, added to the coarser image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = EqualConv2d(channels, 3, 1, bias=True, act=True, gain=ACT_GAIN)
        self.bias = nn.Parameter(torch.zeros(3))
        self.upsample = FirUpsample(3)

    def forward(self, warped_BCHW: Tensor, coarser_B3hw: Tensor | None) -> Tensor:
        image_B3HW: Tensor = self.conv(warped_BCHW) + self.bias[:, None, None]
        if coarser_B3hw is not None:
            image_B3HW = image_B3HW + self.upsample(coarser_B3hw)
        return image_B3HW


def warp(feature_BCHW: Tensor, flow_B3HW: Tensor) -> tuple[Tensor, Tensor]:
    """Warp features by a flow field and mask them: (B,C,H,W), and the mask (B,1,H,W).

    The flow is in units of half the image: tanh of the first two channels (x, y) displaces an identity grid
    of linspace(-1, 1); the mask is the sigmoid of the third. Sampling is bilinear, zero outside.
    """
    height, width = flow_B3HW.shape[2:]
    ys = torch.linspace(-1, 1, height, dtype=flow_B3HW.dtype, device=flow_B3HW.device)
    xs = torch.linspace(-1, 1, width, dtype=flow_B3HW.dtype, device=flow_B3HW.device)
    identity_HW2 = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)
    grid_BHW2 = flow_B3HW[:, :2].tanh().permute(0, 2, 3, 1) + identity_HW2
    mask_B1HW = flow_B3HW[:, 2:].sigmoid()
    feature_BCHW = gradient_in_layout_of(feature_BCHW)
    sampled_BCHW = F.grid_sample(feature_BCHW.to(grid_BHW2.dtype), grid_BHW2, align_corners=False)
    return in_layout_of(feature_BCHW, sampled_BCHW) * mask_B1HW, mask_B1HW


class SynthesisStage(nn.Module):
    """Double the resolution, then warp the source's features of that resolution into the hidden state."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        self.up = ModulatedConv2d(in_channels, out_channels, style_dim, upsample=True)
        self.refine = ModulatedConv2d(out_channels, out_channels, style_dim)
        self.flow = FlowHead(out_channels, style_dim)
        self.image = ImageHead(out_channels)

    def forward(
        self, hidden: Tensor, latent_BS: Tensor, feature: Tensor, flow: Tensor | None, image: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state, flow head output and image of the coarser stage in, those of this stage out."""
        hidden = self.refine(self.up(hidden, latent_BS), latent_BS)
        flow = self.flow(hidden, latent_BS, flow)
        warped, mask = warp(feature, flow)
        warped = warped.to(hidden.dtype)
        image = self.image(warped, image)
        hidden = torch.addcmul(warped, hidden, 1 - mask.to(hidden.dtype))
        return hidden, flow, image


class Synthesis(Recomputing):
    """Latent code (B,S) and source features -> image (B,3,H,W), unbounded."""

    def __init__(self, config: LiaConfig) -> None:
        super().__init__()
        channels = [config.channels(resolution) for resolution in (4, *config.resolutions())]
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.first = ModulatedConv2d(channels[0], channels[0], config.style_dim)
        self.stages = nn.ModuleList(
            SynthesisStage(before, after, config.style_dim) for before, after in pairwise(channels)
        )

    @torch.no_grad()
    def scale_flow(self, factor: float) -> None:
        """Multiply the weights of all flow heads.

        With the initial ones, flow and mask logits are normally distributed at every stage: features are fetched
        from anywhere, often from outside the image, where no gradient tells the flow which way to go back.
        """
        for stage in self.stages:
            assert isinstance(stage, SynthesisStage)
            stage.flow.weight.mul_(factor)

    def forward(self, latent_BS: Tensor, features: list[Tensor]) -> Tensor:
        """`features` run from 8x8 to full resolution; those of one image (1,C,H,W) serve a whole batch."""
        batch = latent_BS.shape[0]
        constant = in_layout_of(features[0], self.constant.expand(batch, -1, -1, -1))
        hidden: Tensor = self.first(constant, latent_BS)
        flow: Tensor | None = None
        image: Tensor | None = None
        for stage, feature in zip(self.stages, features, strict=True):
            feature = feature.expand(batch, -1, -1, -1)
            hidden, flow, image = self.run(stage, hidden, latent_BS, feature, flow, image)
        assert image is not None  # there is at least the 8x8 stage
        return image
