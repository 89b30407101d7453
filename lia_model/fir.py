"""The fixed low-pass filter [1,3,3,1] that keeps resampling free of aliasing, as depthwise convolutions.

Resampling and filtering happen in one convolution: only the samples that survive are ever computed.
"""
# B batch, C channels, H height, W width

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TAPS = (1.0, 3.0, 3.0, 1.0)


def fir_kernel(gain: float = 1.0) -> Tensor:
    """The separable 4x4 kernel, normalised to sum `gain`: (4,4)."""
    taps = torch.tensor(_TAPS)
    kernel = torch.outer(taps, taps)
    return kernel * (gain / kernel.sum())


class _DepthwiseFir(nn.Module):
    """Holds one copy of the kernel a channel. It is a constant, so it is not part of the state dict."""

    kernel: Tensor  # (C,1,4,4)

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        kernel_C144 = fir_kernel(gain).expand(channels, 1, 4, 4).contiguous()
        self.register_buffer("kernel", kernel_C144, persistent=False)

    def _each_channel(self, convolve: Callable[..., Tensor], x_BCHW: Tensor, **sampling: int) -> Tensor:
        kernel_C144 = self.kernel.to(x_BCHW.dtype)
        if x_BCHW.dtype != torch.float64:
            y_BCHW: Tensor = convolve(x_BCHW, kernel_C144, groups=len(kernel_C144), **sampling)
            return y_BCHW
        # PyTorch has no depthwise float64 kernel and would call the plain one for every channel in turn.
        y_N1HW: Tensor = convolve(x_BCHW.flatten(0, 1)[:, None], kernel_C144[:1], **sampling)
        return y_N1HW.reshape(*x_BCHW.shape[:2], *y_N1HW.shape[2:])


class FirBlur(_DepthwiseFir):
    """Pad by `padding` on every side and filter: (B,C,H,W) -> (B,C,H+2*padding-3,W+2*padding-3)."""

    def __init__(self, channels: int, *, padding: int, gain: float = 1.0) -> None:
        super().__init__(channels, gain)
        self.padding = padding

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self._each_channel(F.conv2d, x_BCHW, padding=self.padding)


class FirDownsample(_DepthwiseFir):
    """Filter and keep every second sample: (B,C,H,W) -> (B,C,H/2,W/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, gain=1.0)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.device.type != "cpu" or x_BCHW.dtype != torch.bfloat16:
            return self._each_channel(F.conv2d, x_BCHW, stride=2, padding=1)
        # In bfloat16 the CPU's backward pass of a strided depthwise convolution takes ten times as long.
        with torch.autocast("cpu", enabled=False):
            return self._each_channel(F.conv2d, x_BCHW.float(), stride=2, padding=1).to(x_BCHW.dtype)


class FirUpsample(_DepthwiseFir):
    """Insert zeros between samples and filter with four times the gain: (B,C,H,W) -> (B,C,2H,2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, gain=4.0)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self._each_channel(F.conv_transpose2d, x_BCHW, stride=2, padding=1)
