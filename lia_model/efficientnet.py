"""EfficientNet-Lite0's image features (Tan and Le, 2019; the Lite variant by Liu and Tan, 2020).

B0 without squeeze-and-excitation and with ReLU6 for swish. Names of parameters are those of efficientnet-lite-pytorch.
"""
# B batch, C channels, H height, W width

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from lia_model.batch_norm import FrozenBatchNorm, without_counts
from lia_model.plain_data import load_state_dict
from lia_model.weights import load_tensors

FEATURES = 1280
"""Length of the feature vector."""
INPUT_SIZE = 224
"""Side in pixels of the images that the network was trained on."""
_STEM = 32
_BATCH_NORM_EPSILON = 1e-3


class _Stage(NamedTuple):
    """Blocks of one resolution (table 1 of the paper); the first of them changes size and channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite0Features(nn.Module):
    """Image (B,3,H,W) in [-1,1] -> the 1,280 features before the classifier: (B,1280).

    The image is clamped, resized to 224 x 224 (bicubic, antialiased, whatever its aspect) and normalised inside.
    Parameters are frozen, and so are the statistics of batch normalisation.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, _STEM, 3, stride=2)
        self._bn0 = FrozenBatchNorm(_STEM, _BATCH_NORM_EPSILON)
        blocks = []
        before = _STEM
        for stage in _STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(
                    _InvertedResidual(before, stage.channels, stage.kernel, stride, stage.expansion)
                )
                before = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(before, FEATURES, 1, bias=False)
        self._bn1 = FrozenBatchNorm(FEATURES, _BATCH_NORM_EPSILON)
        self.requires_grad_(False)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(_resized(_normalised(image_B3HW)))))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


class _InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel, narrow by 1x1; the input is added where it has the output's shape."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = before * expansion
        self.widens = expansion > 1
        if self.widens:
            self._expand_conv = nn.Conv2d(before, width, 1, bias=False)
            self._bn0 = FrozenBatchNorm(width, _BATCH_NORM_EPSILON)
        self._depthwise_conv = _SameConv2d(width, width, kernel, stride=stride, groups=width)
        self._bn1 = FrozenBatchNorm(width, _BATCH_NORM_EPSILON)
        self._project_conv = nn.Conv2d(width, after, 1, bias=False)
        self._bn2 = FrozenBatchNorm(after, _BATCH_NORM_EPSILON)
        self.adds_input = stride == 1 and before == after

    def forward(self, x_BCHW: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x_BCHW))) if self.widens else x_BCHW
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)))
        narrow: Tensor = self._bn2(self._project_conv(wide))
        return narrow + x_BCHW if self.adds_input else narrow


class _SameConv2d(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME" pads inputs whose sides the stride divides."""

    def __init__(self, before: int, after: int, kernel: int, *, stride: int, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)
        total = kernel - stride
        # Of an odd number of rows and columns, the one more goes to the bottom and the right.
        self.around = (total // 2, total - total // 2) * 2

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(F.pad(x_BCHW, self.around))


def _normalised(image_B3HW: Tensor) -> Tensor:
    """As the published weights were trained: (pixel - 127) / 128 for pixels from 0 to 255, in all colours."""
    return ((image_B3HW.clamp(-1, 1) + 1) * 127.5 - 127) / 128


def _resized(image_B3HW: Tensor) -> Tensor:
    size = (INPUT_SIZE, INPUT_SIZE)
    if image_B3HW.shape[2:] == size:
        return image_B3HW
    return F.interpolate(image_B3HW, size, mode="bicubic", align_corners=False, antialias=True)


def load_efficientnet_lite0(path: Path | str) -> EfficientNetLite0Features:
    """The network with the weights of a .safetensors or .pth file. Raises WeightsError.

    The classifier and the counts of batches, which the published file carries, are passed over.
    """
    state = load_state_dict(path)
    used = {name: tensor for name, tensor in without_counts(state).items() if not name.startswith("_fc.")}
    features = EfficientNetLite0Features()
    load_tensors(features, used, str(path))
    return features
