"""Flip and colour jitter, the same for both images of a pair, as batched tensor arithmetic."""

# B pairs, P = 2 images, C = 3 channels (RGB), H height, W width
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from orchestration.experiment import DataConfig
from pipelines.dataset.sampler import PairKey, hash64

LUMA = (0.299, 0.587, 0.114)
_AUGMENTATION = 3  # domain of its own beside the sampler's draws


def augment(pairs_BPCHW: Tensor, config: DataConfig, keys: Sequence[PairKey], seed: int) -> Tensor:
    """Augment pairs of images in [-1, 1]; what happens to a pair depends only on its key and the seed."""
    if not config.flip and config.colour_jitter == 0:
        return pairs_BPCHW
    draws_B5 = torch.tensor([_uniform_draws(key, seed) for key in keys], dtype=torch.float32)
    if config.flip:
        mirrored = (draws_B5[:, 0] < 0.5).to(pairs_BPCHW.device)
        pairs_BPCHW = torch.where(mirrored[:, None, None, None, None], pairs_BPCHW.flip(-1), pairs_BPCHW)
    if config.colour_jitter > 0:
        strength_B4 = ((draws_B5[:, 1:] * 2 - 1) * config.colour_jitter).to(pairs_BPCHW)
        pairs_BPCHW = jitter_colours(pairs_BPCHW, strength_B4)
    return pairs_BPCHW


def _uniform_draws(key: PairKey, seed: int) -> list[float]:
    return [hash64(_AUGMENTATION, seed, key.epoch, key.position, number) / 2**64 for number in range(5)]


def jitter_colours(pairs_BPCHW: Tensor, strength_B4: Tensor) -> Tensor:
    """Brightness and contrast factors 1 + s, saturation factor 1 + s, hue turned by s full circles, in that order."""
    brightness, contrast, saturation, hue = ((s[:, None, None, None, None]) for s in strength_B4.unbind(1))
    luma = pairs_BPCHW.new_tensor(LUMA)
    unit = (pairs_BPCHW + 1) / 2 * (1 + brightness)
    mean_luma = torch.einsum("bpchw,c->bphw", unit, luma).mean(dim=(1, 2, 3))[:, None, None, None, None]
    unit = mean_luma + (unit - mean_luma) * (1 + contrast)
    grey = torch.einsum("bpchw,c->bphw", unit, luma)[:, :, None]
    unit = grey + (unit - grey) * (1 + saturation)
    unit = torch.einsum("bpchw,bdc->bpdhw", unit, hue_rotation(hue.flatten() * 2 * math.pi))
    return unit.clamp(0, 1) * 2 - 1


def hue_rotation(angle_B: Tensor) -> Tensor:
    """Rotations of RGB about the grey axis (Rodrigues' formula): (B,3,3)."""
    axis = angle_B.new_tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    sine, cosine = angle_B.sin()[:, None, None], angle_B.cos()[:, None, None]
    identity = torch.eye(3, dtype=angle_B.dtype, device=angle_B.device)
    return identity + sine * axis + (1 - cosine) * (axis @ axis)
