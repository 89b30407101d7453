"""Cuts between shots."""

import numpy as np
import pytest

from pipelines.annotation.shots import ShotDetector
from pipelines.media.video import decode_timed
from tests.bright_squares import BLUE, GREEN, RED, still, write_scenes

RNG = np.random.default_rng(0)
PATTERN = RNG.integers(0, 256, (24, 32, 3)).repeat(10, axis=0).repeat(10, axis=1).astype(np.uint8)


def cuts(frames, threshold: float = 0.22) -> list[int]:
    detector = ShotDetector(threshold)
    return [number for number, frame in enumerate(frames) if detector.begins_shot(frame)]


def test_scenes_joined_in_one_video(tmp_path):
    moving = [(BLUE, 12, lambda number: [(4 * number, 60, 90)]), (GREEN, 9, still((100, 60, 90)))]
    path = write_scenes(tmp_path / "v.mp4", [*moving, (RED, 7, still()), (BLUE, 5, still())])
    assert cuts(frame.image for frame in decode_timed(path, 640)) == [12, 21, 28]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([PATTERN] * 5, [], id="still"),
        pytest.param([np.roll(PATTERN, 2 * n, axis=1) for n in range(5)], [], id="a-slow-pan"),
        pytest.param([PATTERN, 255 - PATTERN, 255 - PATTERN], [1], id="other-picture"),
        pytest.param([PATTERN, PATTERN[::-1]], [1], id="same-colours-elsewhere"),
        pytest.param([(PATTERN * (1 - n / 10)).astype(np.uint8) for n in range(5)], [], id="a-fade"),
        pytest.param([np.full((9, 9, 3), level, np.uint8) for level in (127, 128, 122)], [], id="flicker"),
        pytest.param([PATTERN // 64, PATTERN[::-1] // 64], [], id="noise-in-the-dark"),
        pytest.param(
            [np.full((9, 9, 3), 10, np.uint8), np.full((9, 9, 3), 40, np.uint8)], [1], id="dark-cut"
        ),
        pytest.param([PATTERN], [], id="one-frame"),
        pytest.param([PATTERN[:1, :1]] * 2, [], id="one-pixel"),
    ],
)
def test_what_is_a_cut(frames, expected):
    assert cuts(frames) == expected


def test_a_threshold_of_one_finds_none():
    assert cuts([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)], 1.0) == []
