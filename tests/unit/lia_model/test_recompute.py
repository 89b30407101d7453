"""Recomputed activations: the same gradients, with less kept in between."""

import pytest
import torch
from torch import Tensor, nn

from lia_model.config import LiaConfig
from lia_model.discriminator import Discriminator
from lia_model.generator import Generator
from lia_model.losses import PerceptualLoss
from lia_model.recompute import recompute_blocks
from lia_model.vgg import VggFeatures

CONFIG = LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=1 / 64)


def images(seed: int) -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def kept_bytes_and_gradients(network: nn.Module, *inputs: Tensor) -> tuple[int, list[Tensor]]:
    """Bytes that the forward pass keeps for the backward pass, and the gradients of inputs and parameters."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(*leaves)
    output = output[0] if isinstance(output, tuple) else output
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(output.square().sum(), [leaves[0], *learning])
    return sum(kept.values()), list(gradients)


@pytest.mark.parametrize("kind", ["generator", "discriminator", "perceptual"])
def test_gradients_are_the_same_and_less_is_kept(kind):
    torch.manual_seed(0)
    network: nn.Module
    if kind == "perceptual":
        network, inputs = PerceptualLoss(VggFeatures()), (images(0), images(1))
    elif kind == "generator":
        network, inputs = Generator(CONFIG), (images(0), images(1))
    else:
        network, inputs = Discriminator(CONFIG), (images(0),)
    kept, gradients = kept_bytes_and_gradients(network, *inputs)
    recompute_blocks(network)
    kept_then, gradients_then = kept_bytes_and_gradients(network, *inputs)
    assert all(torch.equal(a, b) for a, b in zip(gradients, gradients_then, strict=True))
    weights = sum(parameter.nbytes for parameter in network.parameters())
    assert kept_then < kept if kind == "perceptual" else kept_then - weights < kept - weights
