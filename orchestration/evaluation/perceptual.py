"""Perceptual distances of generated frames from true ones, a number a frame; lower is better, 0 for equal images.

`vgg16_hed_distance` needs no file but what `lia fetch` downloads. `lpips` needs AlexNet's weights, which it does not
download: the user puts them where `lia fetch --status` says.

LPIPS is computed here from the paper's equation because the libraries that have it (lpips, torchmetrics,
torch-fidelity) all import torchvision, of which not every build of torch has a matching one.
"""
# C channels, L layers

from pathlib import Path

import torch
from torch import Tensor

from lia_model.alexnet import ALEXNET_CHANNELS, load_alexnet
from lia_model.feature_distance import FeatureDistance
from lia_model.plain_data import load_state_dict
from lia_model.vgg import VGG_CHANNELS, load_vgg
from lia_model.weights import check_shapes


def vgg16_hed_distance(weights: Path) -> FeatureDistance:
    """One minus the cosine similarity of VGG16-HED features, averaged over positions and then over five layers.

    The layers are relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG16 with ImageNet weights fine-tuned for edge
    detection (see `lia fetch --status`); the similarity is over channels, each position by itself. Features are not
    negative, so it lies between 0 and 1. Zhang et al. (2018) show that such distances follow human judgement without
    being fitted to it. It is not LPIPS: other network, other layers, no fitted weights, another scale. Nor is it the
    loss that training may use, the mean absolute difference of the same features: that is dominated by the first
    layers, whose activations are ten times those of the last, and has no scale that one could read.
    """
    share = 1 / (2 * len(VGG_CHANNELS))  # half the squared distance of unit vectors is one minus their cosine
    return FeatureDistance(load_vgg(weights), [torch.full((channels,), share) for channels in VGG_CHANNELS])


def lpips(alexnet: Path, linear: Path) -> FeatureDistance:
    """LPIPS, version 0.1 with AlexNet (Zhang et al., 2018), on images in [-1,1] at their own size.

    `alexnet` is torchvision's ImageNet file, `linear` LPIPS's own weights a channel ("lin0.model.1.weight", ...).
    Raises WeightsError.
    """
    return FeatureDistance(load_alexnet(alexnet), _read_linear(linear))


def _read_linear(path: Path) -> list[Tensor]:
    names = {f"lin{layer}.model.1.weight": channels for layer, channels in enumerate(ALEXNET_CHANNELS)}
    state = load_state_dict(path)
    check_shapes({name: (1, channels, 1, 1) for name, channels in names.items()}, state, str(path))
    return [state[name].flatten() for name in names]
