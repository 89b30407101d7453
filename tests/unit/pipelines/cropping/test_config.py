"""Settings of prepare."""

import pytest

from pipelines.cropping.config import PrepareConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 255}, "size must be even"),
        ({"size": 8}, "size must be even and from 16"),
        ({"jpeg_q": 1}, "jpeg_q"),
        ({"chroma": "422"}, "chroma"),
        ({"shard_mb": 0}, "shard_mb"),
        ({"clip_seconds_limit": 0.0}, "clip_seconds_limit"),
        ({"clip_seconds_limit": float("inf")}, "clip_seconds_limit"),
        ({"decoder_gb_limit": float("inf")}, "decoder_gb_limit"),
        ({"max_megapixels": float("inf")}, "max_megapixels"),
        ({"max_megapixels": float("nan")}, "max_megapixels"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PrepareConfig(**settings)
