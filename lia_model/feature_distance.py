"""Distance of two images in the feature space of a network (Zhang et al., 2018, equation 1)."""
# B batch, C channels, H height, W width, L layers

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Where no channel answers, zero is divided by this instead of by zero.
_EPSILON = 1e-10


class FeatureDistance(nn.Module):
    """Sum over layers of the mean over positions of sum_c weight_c (x_c - y_c)^2, x and y of unit length over channels.

    `network` maps an image (B,3,H,W) in [-1,1] to L features (B,C,H,W), of any sizes. `weights` has a vector (C,) a
    layer, none of them negative. Everything is frozen. Positions count alike within a layer, layers by their weights.
    """

    def __init__(self, network: nn.Module, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.network = network
        self.weights = nn.ParameterList([nn.Parameter(weight_C) for weight_C in weights])
        self.requires_grad_(False)

    def features(self, image_B3HW: Tensor) -> list[Tensor]:
        """What `between` compares, so that an image compared with several passes through the network once.

        VGG's take 32 MB an image of 256 px: keep those of a few frames, not of a clip.
        """
        return [_unit_length(feature_BCHW) for feature_BCHW in self.network(image_B3HW)]

    def between(self, x_LBCHW: Sequence[Tensor], y_LBCHW: Sequence[Tensor]) -> Tensor:
        """The distance of images by their features: (B,). Features of a single image go with any batch."""
        layers = zip(self.weights, x_LBCHW, y_LBCHW, strict=True)
        per_layer = [((x - y).square().mean((2, 3)) * weight_C).sum(1) for weight_C, x, y in layers]
        return torch.stack(per_layer).sum(0)

    def forward(self, image_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
        """The distance of each image from its target: (B,); 0 for equal images."""
        return self.between(self.features(image_B3HW), self.features(target_B3HW))


def _unit_length(x_BCHW: Tensor) -> Tensor:
    length_B1HW: Tensor = torch.linalg.vector_norm(x_BCHW, dim=1, keepdim=True)
    return x_BCHW / (length_B1HW + _EPSILON)
