"""VGG features for the perceptual loss, with torchvision's layout so that its ImageNet files load as they are."""
# B batch, C channels, H height, W width

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lia_model.layout import in_layout_of
from lia_model.plain_data import load_state_dict
from lia_model.weights import load_tensors

Variant = Literal["vgg16", "vgg19"]
# Convolutions in each of the five groups; each group is followed by a 2x2 max pooling.
_GROUPS: dict[Variant, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
VGG_CHANNELS = (64, 128, 256, 512, 512)
"""Of each feature, for both variants."""
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class VggFeatures(nn.Module):
    """Image (B,3,H,W) in [-1,1] -> relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    The image is clamped and normalised inside. Parameters are frozen and named as torchvision names them
    ("features.0.weight", ...); layers behind relu5_1 are kept for the names only and never run.
    """

    def __init__(self, variant: Variant = "vgg19") -> None:
        super().__init__()
        if variant not in _GROUPS:
            raise ValueError(f'VGG variant must be "vgg19" or "vgg16", got {variant!r}')
        self.variant = variant
        layers: list[nn.Module] = []
        taps: list[int] = []
        before = 3
        for convolutions, channels in zip(_GROUPS[variant], VGG_CHANNELS, strict=True):
            taps.append(len(layers) + 1)
            for _ in range(convolutions):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=False)]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.taps = tuple(taps)
        self.requires_grad_(False)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        x = normalise(image_B3HW)
        outputs = []
        for index, layer in enumerate(self.features.children()):
            x = layer(x)
            if index in self.taps:
                outputs.append(x)
            if len(outputs) == len(self.taps):
                break
        return outputs


def normalise(image_B3HW: Tensor) -> Tensor:
    """Clamp to [-1,1], then shift and scale each colour by ImageNet's mean and standard deviation of [0,1]."""
    colours = ((image_B3HW.clamp(-1, 1) + 1) / 2).unbind(1)
    statistics = zip(colours, _IMAGENET_MEAN, _IMAGENET_STD, strict=True)
    normal_B3HW = torch.stack([(colour - mean) / std for colour, mean, std in statistics], dim=1)
    return in_layout_of(image_B3HW, normal_B3HW)


def load_vgg(path: Path | str) -> VggFeatures:
    """VGG with the weights of a torchvision .pth or a .safetensors file; 16 or 19 by the file's layers.

    Classifier tensors, which torchvision's files carry, are passed over. Raises WeightsError.
    """
    state = load_state_dict(path)
    convolutions = {name: tensor for name, tensor in state.items() if name.startswith("features.")}
    # VGG16 ends at features.28; the deeper VGG19 at features.34.
    features = VggFeatures("vgg19" if "features.34.weight" in convolutions else "vgg16")
    load_tensors(features, convolutions, str(path))
    return features
