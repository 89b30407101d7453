"""Motion as magnitudes along a learned orthogonal basis: linear motion decomposition (LIA, section 3.2)."""
# B batch, S style_dim, M motion_dim

from itertools import pairwise

import torch
from torch import Tensor, nn

from lia_model.config import LiaConfig
from lia_model.layers import EqualLinear, without_autocast

_LAYERS = 5
# Part of the published parametrisation: the basis is that of weight + 1e-8.
_BASIS_OFFSET = 1e-8


class MotionHead(nn.Module):
    """Appearance code (B,S) -> magnitudes along the motion directions (B,M).

    Five linear layers without activations between them: one linear map, but another optimisation problem.
    """

    def __init__(self, config: LiaConfig) -> None:
        super().__init__()
        sizes = [config.style_dim] * _LAYERS + [config.motion_dim]
        self.layers = nn.Sequential(*(EqualLinear(before, after) for before, after in pairwise(sizes)))

    def forward(self, appearance_BS: Tensor) -> Tensor:
        with without_autocast(appearance_BS):
            magnitude_BM: Tensor = self.layers(appearance_BS)
        return magnitude_BM


class MotionBasis(nn.Module):
    """A learned S x M matrix whose columns are made orthonormal at every use."""

    def __init__(self, config: LiaConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(config.style_dim, config.motion_dim))

    def forward(self) -> Tensor:
        """The motion directions, the Q of a reduced QR decomposition: (S,M)."""
        weight_SM: Tensor = self.weight
        if weight_SM.dtype in (torch.bfloat16, torch.float16):
            weight_SM = weight_SM.float()  # no QR exists in half precision
        directions_SM: Tensor = torch.linalg.qr(weight_SM + _BASIS_OFFSET).Q
        return directions_SM


def move(appearance_BS: Tensor, magnitude_BM: Tensor, directions_SM: Tensor) -> Tensor:
    """Walk from an appearance code along the motion directions (LIA, eq. 3): (B,S)."""
    with without_autocast(appearance_BS):
        return appearance_BS + magnitude_BM @ directions_SM.mT
