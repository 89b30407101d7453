"""Whom a picture or a video shows, with a detector of bright squares."""

import numpy as np
import pytest

from pipelines.annotation.regions import Region
from pipelines.annotation.whereabouts import Whereabouts, find_in_picture, find_in_video
from pipelines.media.video import TimedFrame
from tests.bright_squares import BrightSquareDetector

DETECT = BrightSquareDetector()


def picture(*squares: tuple[int, int, int]) -> np.ndarray:
    """Left edge, top edge and side of white squares on black."""
    image = np.zeros((90, 160, 3), np.uint8)
    for left, top, side in squares:
        image[top : top + side, left : left + side] = 255
    return image


def frames(*pictures: np.ndarray, scale: int = 1):
    return [TimedFrame(image=image, time_s=None, size=(160 * scale, 90 * scale)) for image in pictures]


@pytest.mark.parametrize(
    ("squares", "found"),
    [
        pytest.param([], None, id="nobody"),
        pytest.param([(10, 20, 30)], Region(10, 20, 40, 50), id="one"),
        pytest.param([(10, 20, 30), (80, 5, 40)], Region(80, 5, 120, 45), id="the-largest-of-two"),
    ],
)
def test_in_a_picture(squares, found):
    assert find_in_picture(picture(*squares), DETECT) == found


@pytest.mark.parametrize(
    ("squares", "region", "extent"),
    [
        pytest.param([[(10, 20, 30)]] * 3, Region(10, 20, 40, 50), 30, id="stands-still"),
        pytest.param(
            [[(10 + 8 * step, 20, 30)] for step in range(10)], Region(10, 20, 112, 50), 30, id="walks-through"
        ),
        pytest.param(
            [[(10, 20, 30)], [(10, 20, 40)], [(10, 20, 60)]], Region(10, 20, 70, 80), 40, id="comes-nearer"
        ),
        pytest.param(
            [[], [(10, 20, 30)], [], [(12, 25, 30)]], Region(10, 20, 42, 55), 30, id="is-missed-now-and-then"
        ),
        pytest.param(
            [[(10, 20, 30)], [(10, 20, 30), (80, 0, 60)], [(80, 0, 60)], [(11, 21, 30)]],
            Region(10, 20, 41, 51),
            30,
            id="another-larger-one-comes-and-goes",
        ),
        pytest.param(
            [[(10, 20, 20), (80, 0, 60)], [(10, 20, 70)]],
            Region(80, 0, 140, 60),
            60,
            id="the-largest-at-first",
        ),
    ],
)
def test_in_a_video(squares, region, extent):
    seen = frames(*(picture(*of_frame) for of_frame in squares))
    assert find_in_video(seen, DETECT) == Whereabouts(region, extent, (160, 90))


def test_boxes_are_in_pixels_of_the_video_and_not_of_the_shrunken_frame():
    found = find_in_video(frames(picture((10, 20, 30)), scale=4), DETECT)
    assert found == Whereabouts(Region(40, 80, 160, 200), 120, (640, 360))


@pytest.mark.parametrize("count", [0, 3])
def test_nobody_in_a_video(count):
    assert find_in_video(frames(*[picture()] * count), DETECT) is None
