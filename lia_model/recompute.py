"""Activation checkpointing: keep only what lies between blocks, and compute the rest again in the backward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recomputing(nn.Module):
    """A network made of blocks that it may run without keeping their inner activations.

    What its parameters require (`requires_grad`) must stay the same from forward to backward pass: the blocks are
    run again there, and must leave the same tensors behind.
    """

    recompute = False

    def run(self, block: Callable[..., Any], *inputs: Any) -> Any:
        """The block's output; with `recompute`, of its activations only `inputs` are kept."""
        if not (self.recompute and torch.is_grad_enabled()):
            return block(*inputs)
        # There is nothing random in a block, so the random state needs no keeping.
        return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)


def recompute_blocks(network: nn.Module) -> None:
    """From now on `network` keeps only the activations between its blocks."""
    for module in network.modules():
        if isinstance(module, Recomputing):
            module.recompute = True
