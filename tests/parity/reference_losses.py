"""The losses written a second time, as the equations read. Nothing here is shared with lia_model."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# VGG19 in torchvision's numbering: convolutions by group, each followed by a ReLU, each group by a pooling.
VGG19_GROUPS = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28,))
VGG19_CHANNELS = (64, 128, 256, 512, 512)


def softplus(x: Tensor) -> Tensor:
    return torch.log1p(torch.exp(x))


def generator_adversarial_loss(fake_logits: Tensor) -> Tensor:
    return softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def perceptual_loss(weights: Callable[..., Tensor], image: Tensor, target: Tensor) -> Tensor:
    """One element a scale of at least 16 px; `weights` gives VGG19's tensors by torchvision name and shape."""
    per_scale = []
    for step in (1, 2, 4, 8):
        if image.shape[-1] // step >= 16:
            pairs = zip(
                vgg19(weights, shrink(image, step)), vgg19(weights, shrink(target, step)), strict=True
            )
            per_scale.append(sum((x - y).abs().mean() for x, y in pairs))
    return torch.stack(per_scale)


def shrink(image: Tensor, step: int) -> Tensor:
    """Blur every colour with a Gaussian, then keep one pixel in `step`."""
    if step == 1:
        return image
    sigma = (step - 1) / 2
    radius = round(4 * sigma)
    # The published kernel is computed in float32; its rounding steers a training run of several steps.
    taps = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    kernel = taps[:, None] * taps[None]
    kernel = (kernel / kernel.sum()).to(image.dtype)[None, None]
    colours = [F.conv2d(image[:, c : c + 1], kernel, padding=radius) for c in range(3)]
    return torch.cat(colours, 1)[:, :, ::step, ::step]


def vgg19(weights: Callable[..., Tensor], image: Tensor) -> list[Tensor]:
    """relu1_1, relu2_1, relu3_1, relu4_1, relu5_1."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=image.dtype)[None, :, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], dtype=image.dtype)[None, :, None, None]
    x = ((image.clamp(-1, 1) + 1) / 2 - mean) / std
    taps = []
    for convolutions, channels in zip(VGG19_GROUPS, VGG19_CHANNELS, strict=True):
        if taps:
            x = F.max_pool2d(x, 2)
        for position, number in enumerate(convolutions):
            weight = weights(f"features.{number}.weight", channels, x.shape[1], 3, 3)
            bias = weights(f"features.{number}.bias", channels)
            x = F.conv2d(x, weight, padding=1) + bias[None, :, None, None]
            x = torch.where(x > 0, x, torch.zeros_like(x))
            if position == 0:
                taps.append(x)
    return taps
