"""Image metrics, one number an image. Images are clamped to [-1,1] first, as every protocol has it."""
# B batch, C channels, H height, W width

import torch
from torch import Tensor
from torch.nn import functional as F

from lia_model.gaussian import gaussian_taps

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5
_SSIM_K1, _SSIM_K2 = 0.01, 0.03


def l1(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Mean |x - y| / 2, so that 1 is the distance from black to white: (B,)."""
    image, target = _comparable(image_BCHW, target_BCHW)
    return (image - target).abs().mean((1, 2, 3)) / 2


def psnr(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all channels, peak-to-peak 2; infinite for equal images: (B,)."""
    image, target = _comparable(image_BCHW, target_BCHW)
    return 10 * torch.log10(4 / (image - target).square().mean((1, 2, 3)))


def ssim(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004): (B,).

    Gaussian window of 11 x 11 with sigma 1.5, population covariance, K1 = .01, K2 = .03, computed on intensities
    in [0,1] with data range 1, averaged over channels and over the windows that lie inside the image. (The
    luminance term depends on where zero is, so [-1,1] with data range 2 would be another number.)
    """
    image, target = ((x + 1) / 2 for x in _comparable(image_BCHW, target_BCHW))
    if min(image.shape[2:]) < 2 * _SSIM_RADIUS + 1:
        raise ValueError(f"SSIM needs images of at least 11 x 11 pixels, got {tuple(image.shape[2:])}")
    mean_x, mean_y = _window_means(image), _window_means(target)
    variances = _window_means(image.square()) + _window_means(target.square()) - mean_x**2 - mean_y**2
    covariance = _window_means(image * target) - mean_x * mean_y
    c1, c2 = _SSIM_K1**2, _SSIM_K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).mean((1, 2, 3))


def _comparable(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if image.shape != target.shape or image.dim() != 4:
        raise ValueError(f"metrics compare two (B,C,H,W) batches, got {image.shape} and {target.shape}")
    return image.clamp(-1, 1), target.clamp(-1, 1)


def _window_means(x_BCHW: Tensor) -> Tensor:
    """Gaussian-weighted mean around every pixel whose window lies inside the image: (B,C,H-10,W-10)."""
    channels = x_BCHW.shape[1]
    taps_K = gaussian_taps(_SSIM_SIGMA, _SSIM_RADIUS)
    taps_CK = (taps_K / taps_K.sum()).to(x_BCHW).expand(channels, -1)
    rows = F.conv2d(x_BCHW, taps_CK[:, None, :, None], groups=channels)
    return F.conv2d(rows, taps_CK[:, None, None, :], groups=channels)
