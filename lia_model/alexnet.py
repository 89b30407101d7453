"""AlexNet's convolutions (Krizhevsky, 2014), with torchvision's layout so that its ImageNet file loads as it is."""

from pathlib import Path

from torch import Tensor, nn

from lia_model.plain_data import load_state_dict
from lia_model.vgg import normalise
from lia_model.weights import load_tensors

ALEXNET_CHANNELS = (64, 192, 384, 256, 256)
"""Of each feature."""


class AlexNetFeatures(nn.Module):
    """Image (B,3,H,W) in [-1,1] -> the outputs of the five ReLUs.

    The image is clamped and normalised inside. Parameters are frozen and named as torchvision names them
    ("features.0.weight", ...). Images have at least 31 x 31 pixels; torchvision asks for 63 x 63.
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth, fifth = ALEXNET_CHANNELS
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(third, fourth, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(fourth, fifth, 3, padding=1),
            nn.ReLU(),
        )
        self.requires_grad_(False)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        x = normalise(image_B3HW)
        outputs = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                outputs.append(x)
        return outputs


def load_alexnet(path: Path | str) -> AlexNetFeatures:
    """AlexNet with the weights of torchvision's .pth or a .safetensors file of the same names. Raises WeightsError.

    Classifier tensors, which torchvision's file carries, are passed over.
    """
    state = load_state_dict(path)
    features = AlexNetFeatures()
    convolutions = {name: tensor for name, tensor in state.items() if name.startswith("features.")}
    load_tensors(features, convolutions, str(path))
    return features
