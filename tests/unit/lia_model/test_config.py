import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lia_model.config import LiaConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"image_size": 16}, "image_size must be a power of two from 32 to 1024, got 16", id="small"
        ),
        pytest.param({"image_size": 100}, "image_size .* got 100", id="not-a-power"),
        pytest.param({"image_size": 2048}, "image_size .* got 2048", id="large"),
        pytest.param({"style_dim": 0}, "style_dim must be at least 1, got 0", id="no-style"),
        pytest.param(
            {"motion_dim": 0}, "motion_dim must lie between 1 and style_dim = 512, got 0", id="no-motion"
        ),
        pytest.param(
            {"style_dim": 8, "motion_dim": 9}, "between 1 and style_dim = 8, got 9", id="too-many-directions"
        ),
        pytest.param(
            {"channel_multiplier": 0}, "channel_multiplier must be at least 1, got 0", id="no-channels"
        ),
        pytest.param({"width": 0.0}, "width must be above 0 and at most 8, got 0.0", id="no-width"),
        pytest.param({"width": float("nan")}, "width must be above 0", id="nan-width"),
    ],
)
def test_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        LiaConfig(**fields)


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512, 1024])
def test_accepts_every_size(size):
    assert LiaConfig(image_size=size).resolutions()[-1] == size


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, [512, 512, 512, 512, 256, 128, 64, 32, 16], id="published"),
        pytest.param({"channel_multiplier": 2}, [512, 512, 512, 512, 512, 256, 128, 64, 32], id="multiplier"),
        pytest.param({"width": 0.25}, [128, 128, 128, 128, 64, 32, 16, 8, 8], id="laptop"),
        pytest.param({"width": 0.3}, [152, 152, 152, 152, 80, 40, 16, 8, 8], id="rounded-to-eights"),
    ],
)
def test_channels(fields, expected):
    config = LiaConfig(image_size=1024, **fields)
    assert [config.channels(4 << doublings) for doublings in range(9)] == expected


def test_resolutions():
    assert LiaConfig(image_size=64).resolutions() == (8, 16, 32, 64)


@given(width=st.floats(min_value=1e-3, max_value=8), multiplier=st.integers(1, 4))
def test_channels_suit_matrix_units(width, multiplier):
    config = LiaConfig(image_size=1024, width=width, channel_multiplier=multiplier)
    channels = [config.channels(resolution) for resolution in (4, *config.resolutions())]
    assert all(count >= 8 and count % 8 == 0 for count in channels)


def test_reading_the_config_does_not_load_torch():
    code = "import lia_model.config, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
