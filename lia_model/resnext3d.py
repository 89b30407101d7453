"""Features of short clips by a 3D ResNeXt-101, as video FID takes them.

The network is that of Hara, Kataoka and Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and
ImageNet?" (CVPR 2018): 101 layers, cardinality 32, shortcuts of type B, trained on Kinetics with 16 frames of 112 x 112
pixels; its file is resnext-101-kinetics.pth of 3D-ResNets-PyTorch.

Video FID comes from vid2vid (Wang et al., "Video-to-Video Synthesis", NeurIPS 2018): the Frechet distance of what
networks that recognise actions, I3D or ResNeXt, answer to videos before their last layers. LIA (Wang et al., ICLR 2022)
reports it by a 3D ResNeXt. We know of no text that says how either sampled and prepared frames, nor
of published code. What is done here is what the network's own authors do to take features of a video
(video-classification-3d-cnn-pytorch): the mean (114.7748, 107.7354, 99.4750) is taken off colours from 0 to 255, which
are not scaled; the shorter side becomes 112, bilinearly and antialiased, and the middle is cut out, which of square
videos is all; clips of 16 consecutive frames do not overlap, and what is left at the end is passed over; features are
the mean over all positions of the last layer. They call that mean ActivityNet's, and train on Kinetics with it.

That LIA did the same is our reading. An earlier evaluation by its first author, of G3AN (2020), differs in two points:
it takes a single clip, from the middle of each video, and pixels from 0 to 255 less a mean of 0 to 1, divided by a
deviation of 0 to 1. Distances of such inputs are on another scale.
"""
# B batch, C channels, T frames, H height, W width

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lia_model.batch_norm import FrozenBatchNorm, without_counts
from lia_model.plain_data import load_plain_data
from lia_model.weights import WeightsError, load_tensors

RESNEXT3D_FEATURES = 2048
"""Length of the feature vector."""
CLIP_FRAMES = 16
"""Frames of the clips that the network was trained on."""
INPUT_SIZE = 112
"""Side in pixels of their frames."""
_MEAN = (114.7748, 107.7354, 99.4750)
"""Of red, green and blue in the training videos, from 0 to 255."""
_CLASSES = 400
_CARDINALITY = 32
_EXPANSION = 2
# Blocks, and channels between their convolutions, of each stage; every stage but the first halves time and size.
_STAGES = ((3, 128), (4, 256), (23, 512), (3, 1024))
_BATCH_NORM_EPSILON = 1e-5


class ResNext3dFeatures(nn.Module):
    """Clips (B,T,3,H,W) in [-1,1], of 16 frames -> the 2,048 features before the classifier: (B,2048).

    Frames are clamped, resized to 112 x 112 and freed of their mean inside; they should be square. Everything is
    frozen, statistics of batch normalisation included. The classifier `fc` is there because the file has it; it is
    never run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = FrozenBatchNorm(64, _BATCH_NORM_EPSILON)
        before = 64
        for number, (blocks, width) in enumerate(_STAGES, start=1):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(_Block(before, width, stride=2 if number > 1 and index == 0 else 1))
                before = width * _EXPANSION
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(before, _CLASSES)
        self.requires_grad_(False)

    def forward(self, clips_BT3HW: Tensor) -> Tensor:
        x_BCTHW = _prepared(clips_BT3HW).transpose(1, 2)
        x_BCTHW = F.relu(self.bn1(self.conv1(x_BCTHW)))
        x_BCTHW = F.max_pool3d(x_BCTHW, 3, stride=2, padding=1)
        for number in range(1, len(_STAGES) + 1):
            x_BCTHW = self.get_submodule(f"layer{number}")(x_BCTHW)
        return x_BCTHW.mean((2, 3, 4))


class _Block(nn.Module):
    """1x1x1, 3x3x3 in 32 groups, 1x1x1; the input is added, by a convolution of its own where shapes differ."""

    def __init__(self, before: int, width: int, *, stride: int) -> None:
        super().__init__()
        after = width * _EXPANSION
        self.conv1 = nn.Conv3d(before, width, 1, bias=False)
        self.bn1 = FrozenBatchNorm(width, _BATCH_NORM_EPSILON)
        self.conv2 = nn.Conv3d(width, width, 3, stride, padding=1, groups=_CARDINALITY, bias=False)
        self.bn2 = FrozenBatchNorm(width, _BATCH_NORM_EPSILON)
        self.conv3 = nn.Conv3d(width, after, 1, bias=False)
        self.bn3 = FrozenBatchNorm(after, _BATCH_NORM_EPSILON)
        self.downsample = (
            nn.Identity()
            if stride == 1 and before == after
            else nn.Sequential(
                nn.Conv3d(before, after, 1, stride, bias=False), FrozenBatchNorm(after, _BATCH_NORM_EPSILON)
            )
        )

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x_BCTHW)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        return F.relu(self.bn3(self.conv3(inner)) + self.downsample(x_BCTHW))


def _prepared(clips_BT3HW: Tensor) -> Tensor:
    """What the network was trained to see: 112 x 112, from 0 to 255, less the mean."""
    size = (INPUT_SIZE, INPUT_SIZE)
    frames_N3HW = clips_BT3HW.clamp(-1, 1).flatten(0, 1)
    if frames_N3HW.shape[2:] != size:
        frames_N3HW = F.interpolate(frames_N3HW, size, mode="bilinear", align_corners=False, antialias=True)
    mean_3HW = torch.tensor(_MEAN, device=frames_N3HW.device)[:, None, None]
    prepared_BT3HW: Tensor = ((frames_N3HW + 1) * 127.5 - mean_3HW).unflatten(0, clips_BT3HW.shape[:2])
    return prepared_BT3HW


def load_resnext3d(path: Path | str) -> ResNext3dFeatures:
    """The network with the weights of resnext-101-kinetics.pth. Raises WeightsError of any other file.

    No digest of it is published: that its tensors are those of the network, by name and shape, is all that can be told.
    """
    state = _state(load_plain_data(path), str(path))
    features = ResNext3dFeatures()
    load_tensors(features, without_counts(state), str(path))
    return features


def _state(document: Any, origin: str) -> Mapping[str, Tensor]:
    """The tensors of a training's checkpoint by name, without the prefix that a parallel training gave them."""
    state = document.get("state_dict") if isinstance(document, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(
            f"{origin}: holds no 'state_dict' of tensors; use resnext-101-kinetics.pth of 3D-ResNets-PyTorch as it is"
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
