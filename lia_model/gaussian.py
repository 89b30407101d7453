"""The Gaussian image pyramid under the multi-scale losses."""
# B batch, C channels, H height, W width

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALES = (1.0, 1 / 2, 1 / 4, 1 / 8)
# A scale whose image has shorter sides than this is left out of the multi-scale losses.
SMALLEST_SIDE = 16


def gaussian_taps(sigma: float, radius: int) -> Tensor:
    """A Gaussian of peak 1 at the offsets -radius..radius, in float32: (2*radius+1,)."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.exp(-offsets.square() / (2 * sigma**2))


class GaussianDownscale(nn.Module):
    """Blur with sigma (1/scale - 1)/2, kernel 2*round(4 sigma) + 1 and zero padding, then keep every
    (1/scale)-th pixel: (B,C,H,W) -> (B,C,H*scale,W*scale). Only the pixels kept are computed."""

    kernel: Tensor  # (K,K)

    def __init__(self, scale: float) -> None:
        super().__init__()
        step = round(1 / scale) if scale > 0 else 0
        if step < 2 or step * scale != 1:
            raise ValueError(f"scale must be 1/2, 1/3, ..., got {scale}")
        self.step = step
        sigma = (step - 1) / 2
        self.radius = round(4 * sigma)
        # Two-dimensional and in float32, like the published loss: Adam turns a rounding of the loss's gradient
        # into another training run, so float64 parity over several steps needs the very same kernel.
        taps_K = gaussian_taps(sigma, self.radius)
        kernel_KK = torch.outer(taps_K, taps_K)
        self.register_buffer("kernel", kernel_KK / kernel_KK.sum(), persistent=False)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        channels = image_BCHW.shape[1]
        kernel_C1KK = self.kernel.to(image_BCHW.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(image_BCHW, kernel_C1KK, stride=self.step, padding=self.radius, groups=channels)


class GaussianPyramid(nn.Module):
    """An image at several scales, in the order given; those under 16 px a side are left out."""

    def __init__(self, scales: tuple[float, ...] = SCALES) -> None:
        super().__init__()
        if not scales:
            raise ValueError("a pyramid needs at least one scale")
        self.scales = scales
        self.levels = nn.ModuleList(
            nn.Identity() if scale == 1 else GaussianDownscale(scale) for scale in scales
        )

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        side = min(image_BCHW.shape[2:])
        return [
            level(image_BCHW)
            for level, scale in zip(self.levels, self.scales, strict=True)
            if scale == 1 or side * scale >= SMALLEST_SIDE
        ]
