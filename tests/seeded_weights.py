"""Weights for networks whose published ones are not at hand: with them, activations keep their spread."""

import math

import torch
from torch import Tensor, nn


def seeded(network: nn.Module) -> dict[str, Tensor]:
    """A state dict for `network`, the same each time; also loaded into it."""
    random = torch.Generator().manual_seed(0)

    def values(name: str, like: Tensor) -> Tensor:
        normal = torch.randn(like.shape, generator=random)
        if name.endswith("running_var"):
            return 0.5 + torch.rand(like.shape, generator=random)
        if like.ndim > 1:
            return normal * math.sqrt(2 / like[0].numel())
        return 0.1 * normal + (1 if name.endswith("weight") else 0)

    state = {name: values(name, tensor) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    return state
