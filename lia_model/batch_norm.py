"""Batch normalisation of networks that only look: by the statistics of their training."""
# C channels

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrozenBatchNorm(nn.Module):
    """Normalises (B,C,...) by stored statistics, whatever the mode. Tensors are named as torch names them."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        for name in ("weight", "running_var"):
            self.register_buffer(name, torch.ones(channels))
        for name in ("bias", "running_mean"):
            self.register_buffer(name, torch.zeros(channels))

    def forward(self, x_BC: Tensor) -> Tensor:
        statistics = (self.running_mean, self.running_var)
        return F.batch_norm(x_BC, *statistics, self.weight, self.bias, eps=self.epsilon)


def without_counts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the counts of batches, which published files carry or not and nothing here reads."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
