"""Settings that cannot work are refused."""

import pytest

from pipelines.download.config import DownloadConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 0), ("height", 10_000), ("concurrency", 0), ("attempts", 0), ("failures_in_a_row", 0),
        ("per_minute", -1.0), ("per_minute", float("nan")), ("bytes_per_second", -1), ("backoff_seconds", -1.0),
        ("backoff_limit_seconds", -1.0), ("attempt_minutes_limit", 0.0),
    ],
)  # fmt: skip
def test_refused(field, value):
    with pytest.raises(ValueError, match=f"DownloadConfig.{field} must"):
        DownloadConfig(**{field: value})
