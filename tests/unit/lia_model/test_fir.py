import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lia_model.fir import FirBlur, FirDownsample, FirUpsample, fir_kernel


def by_hand(x: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Zero-stuff, pad, filter, thin out: the definition."""
    batch, channels, height, width = x.shape
    stuffed = x.new_zeros(batch, channels, height * up, width * up)
    stuffed[:, :, ::up, ::up] = x
    padded = F.pad(stuffed, (*pad, *pad)).flatten(0, 1)[:, None]
    filtered = F.conv2d(padded, fir_kernel(gain).to(x)[None, None])
    return filtered.view(batch, channels, *filtered.shape[2:])[:, :, ::down, ::down]


def test_kernel_is_normalised_and_separable():
    kernel = fir_kernel()
    assert kernel.sum() == 1
    assert torch.equal(kernel[1], torch.tensor([3.0, 9.0, 9.0, 3.0]) / 64)
    assert fir_kernel(4.0).sum() == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("layer", "definition"),
    [
        pytest.param(FirBlur(3, padding=2), {"pad": (2, 2)}, id="blur"),
        pytest.param(
            FirBlur(3, padding=1, gain=4.0), {"pad": (1, 1), "gain": 4.0}, id="blur-behind-upsampling"
        ),
        pytest.param(FirDownsample(3), {"pad": (1, 1), "down": 2}, id="down"),
        pytest.param(FirUpsample(3), {"pad": (2, 1), "up": 2, "gain": 4.0}, id="up"),
    ],
)
def test_equals_the_definition(layer, definition, dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 6, dtype=dtype)
    torch.testing.assert_close(layer(x), by_hand(x, **definition))


def test_filters_are_constants():
    layer = FirBlur(3, padding=2)
    assert not list(layer.parameters())
    assert not layer.state_dict()
