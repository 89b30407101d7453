"""Settings of `annotate`."""

from dataclasses import replace

import pytest

from pipelines.annotation.config import AnnotateConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_iou": 1.1}, "min_iou must be from 0 to 1, got 1.1"),
        ({"min_score": float("nan")}, "min_score must be from 0 to 1, got nan"),
        ({"test_fraction": 1.0}, "test_fraction must be from 0 to below 1"),
        ({"max_frames": 63}, "max_frames must be at least min_frames, got 63"),
        ({"min_frames": 0}, "min_frames must be at least 1"),
        ({"widen": 0.9}, "widen must be from 1 to 10"),
        ({"out_of_frame": "pad"}, "out_of_frame must be reject or shift, got 'pad'"),
        ({"detect_every": 0}, "detect_every must be from 1"),
        ({"detector_gpus": 1.5}, "detector_gpus must be a share of one GPU, or a whole number, got 1.5"),
        ({"detector_gpus": float("inf")}, "detector_gpus must be a share"),
        ({"stall_seconds": 0.0}, "stall_seconds must be above 0"),
        ({"detector_gpus": -1.0}, "detector_gpus must be at least 0"),
    ],
)
def test_settings_that_cannot_work(change, message):
    with pytest.raises(ValueError, match=rf"AnnotateConfig\.{message}"):
        AnnotateConfig(**change)


def test_the_published_rule_is_the_default():
    config = AnnotateConfig()
    assert (config.min_iou, config.max_frames, config.min_frames, config.min_px, config.widen) == (
        0.25, 1024, 64, 256, 1.2,
    )  # fmt: skip


def test_how_the_work_is_spread_is_no_content():
    config = AnnotateConfig()
    assert replace(config, batch=3, detectors=9, test_fraction=0.5).content() == config.content()
    assert replace(config, min_px=9).content() != config.content()
