"""The losses LIA trains with (section 3.4), each a mean over the batch."""
# B batch, H height, W width

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lia_model.gaussian import SCALES, GaussianPyramid
from lia_model.recompute import Recomputing
from lia_model.vgg import VggFeatures


def generator_adversarial_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating loss of the generator: mean softplus(-D(fake))."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator: mean softplus(-D(real)) + mean softplus(D(fake))."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def mean_difference(x: Tensor, y: Tensor) -> Tensor:
    """The mean absolute difference, a scalar of at least float32: in bfloat16 it would have three digits."""
    if x.dtype in (torch.bfloat16, torch.float16):
        return (x - y).abs().mean(dtype=torch.float32)
    return F.l1_loss(x, y)


class PerceptualLoss(Recomputing):
    """Mean absolute difference of VGG features, summed over layers and over scales (Johnson et al., 2016)."""

    def __init__(self, features: VggFeatures, scales: tuple[float, ...] = SCALES) -> None:
        super().__init__()
        self.features = features
        self.pyramid = GaussianPyramid(scales)

    def forward(self, image_B3HW: Tensor, target_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and its share of each scale (one element a scale kept). No gradient reaches the target."""
        with torch.no_grad():
            targets = [self.features(level) for level in self.pyramid(target_B3HW)]
        images = [self.run(self.features, level) for level in self.pyramid(image_B3HW)]
        per_scale = torch.stack(
            [
                torch.stack([mean_difference(x, y) for x, y in zip(image, target, strict=True)]).sum()
                for image, target in zip(images, targets, strict=True)
            ]
        )
        return per_scale.sum(), per_scale


class PyramidL1(nn.Module):
    """Mean absolute difference summed over the scales of the same pyramid; needs no pretrained network."""

    def __init__(self, scales: tuple[float, ...] = SCALES) -> None:
        super().__init__()
        self.pyramid = GaussianPyramid(scales)

    def forward(self, image_B3HW: Tensor, target_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and its share of each scale (one element a scale kept)."""
        levels = zip(self.pyramid(image_B3HW), self.pyramid(target_B3HW), strict=True)
        per_scale = torch.stack([F.l1_loss(image, target) for image, target in levels])
        return per_scale.sum(), per_scale
