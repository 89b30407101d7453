import math

import pytest
import torch
from torch.nn import functional as F

from lia_model.layers import ACT_GAIN, EqualConv2d, EqualLinear, ModulatedConv2d


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_convolution_with_act_keeps_unit_variance():
    """What the equalised learning rate and act's sqrt(2) are for."""
    layer = EqualConv2d(64, 64, 3, padding=1, bias=True, act=True, gain=ACT_GAIN)
    assert layer(torch.randn(2, 64, 16, 16)).square().mean().item() == pytest.approx(1, abs=0.15)


def test_convolution_folds_gain_into_weight_and_bias():
    layer = EqualConv2d(4, 5, 3, padding=1, bias=True, act=True, gain=ACT_GAIN).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    plain = F.conv2d(x, layer.weight / math.sqrt(36), layer.bias, padding=1)
    torch.testing.assert_close(layer(x), F.leaky_relu(plain, 0.2) * math.sqrt(2))


@pytest.mark.parametrize("act", [False, True])
def test_linear(act):
    layer = EqualLinear(9, 4, bias_init=0.5, act=act).double()
    x = torch.randn(3, 9, dtype=torch.float64)
    plain = F.linear(x, layer.weight / 3, torch.full((4,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(layer(x), F.leaky_relu(plain, 0.2) * math.sqrt(2) if act else plain)


def test_modulation_starts_as_identity():
    layer = ModulatedConv2d(4, 8, 16)
    assert torch.equal(layer.modulation.bias, torch.ones(4))
    assert not layer.bias.any()


def test_modulated_convolution_modulates_and_normalises_weights():
    """One sample at a time with its own weights is the definition."""
    layer = ModulatedConv2d(4, 6, 5).double()
    torch.nn.init.normal_(layer.bias)
    x, latent = torch.randn(3, 4, 8, 8, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    expected = []
    for sample, style in zip(x, layer.modulation(latent), strict=True):
        weight = layer.weight / 6 * style[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        plain = F.conv2d(sample[None], weight, layer.bias, padding=1)
        expected.append(F.leaky_relu(plain, 0.2) * math.sqrt(2))
    torch.testing.assert_close(layer(x, latent), torch.cat(expected))


def test_upsampling_doubles_the_resolution():
    layer = ModulatedConv2d(4, 8, 16, upsample=True)
    assert layer(torch.randn(2, 4, 8, 8), torch.randn(2, 16)).shape == (2, 8, 16, 16)


def test_style_scale_does_not_change_the_output():
    """Demodulation removes the size of the style."""
    layer = ModulatedConv2d(4, 8, 16).double()
    torch.nn.init.zeros_(layer.modulation.bias)
    x, latent = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.randn(2, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(x, latent), layer(x, 10 * latent), rtol=1e-5, atol=1e-5)


def test_bfloat16_autocast_stays_near_float32():
    layer = ModulatedConv2d(32, 32, 16)
    x, latent = torch.randn(2, 32, 8, 8), torch.randn(2, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = layer(x, latent)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), layer(x, latent), rtol=0, atol=0.05)
