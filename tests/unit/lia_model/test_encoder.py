import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.encoder import Encoder


@pytest.mark.parametrize("size", [32, 64, 128])
def test_code_and_pyramid(size):
    config = LiaConfig(image_size=size, style_dim=16, motion_dim=3, width=1 / 16, channel_multiplier=2)
    code, features = Encoder(config)(torch.zeros(2, 3, size, size))
    assert code.shape == (2, 16)
    assert [tuple(feature.shape) for feature in features] == [
        (2, config.channels(resolution), resolution, resolution) for resolution in config.resolutions()
    ]


def test_code_is_float32_under_autocast(toy_config):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        code, features = Encoder(toy_config)(torch.randn(1, 3, 32, 32))
    assert code.dtype == torch.float32
    assert features[0].dtype == torch.bfloat16
