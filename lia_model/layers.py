"""Layers with an equalised learning rate, plain and modulated (Karras et al., StyleGAN2).

"act" everywhere is: add bias, leaky ReLU of slope 0.2, times sqrt(2). Leaky ReLU commutes with positive
factors, so constant factors are folded into weights and biases, which are far smaller than activations.
"""
# B batch, I input channels, O output channels, H height, W width, S style_dim

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lia_model.fir import FirBlur

ACT_GAIN = math.sqrt(2)
LEAKY_SLOPE = 0.2
_DEMODULATION_EPS = 1e-8


def without_autocast(x: Tensor) -> torch.autocast:
    """A context in which `x`'s device computes in the precision of its operands."""
    return torch.autocast(x.device.type, enabled=False)


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, in place where autograd allows it; gain and bias are the caller's."""
    return F.leaky_relu(x, LEAKY_SLOPE, inplace=True)


class EqualConv2d(nn.Module):
    """Convolution whose N(0,1) weights are scaled by gain/sqrt(fan_in) at run time.

    `gain` also scales the bias. With `act` the leaky ReLU follows; its sqrt(2) must be part of `gain`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
        act: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.stride, self.padding, self.act, self.gain = stride, padding, act, gain
        self.weight_gain = gain / math.sqrt(in_channels * kernel_size**2)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        bias_O = None if self.bias is None else self.bias * self.gain
        weight_OIkk = self.weight * self.weight_gain
        y_BOHW = F.conv2d(x_BIHW, weight_OIkk, bias_O, stride=self.stride, padding=self.padding)
        return leaky_relu(y_BOHW) if self.act else y_BOHW


class EqualLinear(nn.Module):
    """Linear layer whose N(0,1) weights are scaled by 1/sqrt(fan_in) at run time, optionally with act."""

    def __init__(
        self, in_features: int, out_features: int, *, bias_init: float = 0.0, act: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))
        self.act = act
        self.gain = ACT_GAIN if act else 1.0
        self.weight_gain = self.gain / math.sqrt(in_features)

    def forward(self, x_BI: Tensor) -> Tensor:
        y_BO = F.linear(x_BI, self.weight * self.weight_gain, self.bias * self.gain)
        return leaky_relu(y_BO) if self.act else y_BO


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels are scaled by a style, followed by act.

    The published layer scales and normalises a copy of the weights for every sample and convolves in groups.
    Scaling the input channels and normalising the output channels is the same function with one dense
    convolution (StyleGAN2, appendix B): conv(x, w * s) = conv(x * s, w), and the norm of w * s is the square
    root of s^2 @ sum(w^2). With `upsample` the resolution doubles: stride-2 transposed, then low-pass.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, *, upsample: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.modulation = EqualLinear(style_dim, in_channels, bias_init=1.0)
        self.blur = FirBlur(out_channels, padding=1, gain=4.0) if upsample else None
        self.weight_gain = 1 / math.sqrt(in_channels * 9)

    def forward(self, x_BIHW: Tensor, latent_BS: Tensor) -> Tensor:
        style_BI, demodulation_BO = self._scales(latent_BS)
        x_BIHW = x_BIHW * _over_pixels(style_BI, x_BIHW)
        if self.blur is None:
            y_BOHW = F.conv2d(x_BIHW, self.weight, padding=1)
        else:
            y_BOHW = self.blur(F.conv_transpose2d(x_BIHW, self.weight.transpose(0, 1), stride=2))
        bias_1O = (self.bias * ACT_GAIN)[None]
        return leaky_relu(
            torch.addcmul(_over_pixels(bias_1O, y_BOHW), y_BOHW, _over_pixels(demodulation_BO, y_BOHW))
        )

    def _scales(self, latent_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Factors for input and output channels: (B,I), (B,O). Kept out of autocast: they are tiny, and a
        rounding here would be an error of whole channels."""
        with without_autocast(latent_BS):
            style_BI = self.modulation(latent_BS) * self.weight_gain
            energy_OI = self.weight.square().sum((2, 3))
            demodulation_BO = torch.rsqrt(style_BI.square() @ energy_OI.mT + _DEMODULATION_EPS)
        return style_BI, demodulation_BO * ACT_GAIN


def _over_pixels(factor_BC: Tensor, like: Tensor) -> Tensor:
    """A factor per channel, shaped and typed to broadcast over images: (B,C,1,1)."""
    return factor_BC[:, :, None, None].to(like.dtype)
