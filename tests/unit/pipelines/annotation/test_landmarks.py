"""How the landmark network's row of numbers is read."""

import math

import numpy as np
import pytest

from pipelines.annotation.landmarks import LANDMARKS, read_landmarks
from pipelines.annotation.square_view import SquareView


def raw_row(**values):
    """What the network gives: 39 rows of x, y, z, visibility and presence, here all -50 but for those told."""
    raw = np.full((39, 5), -50, np.float32)
    for name, row in values.items():
        raw[LANDMARKS.index(name.replace("_", " "))] = row
    return raw.ravel()


def test_there_are_33_of_different_names():
    assert len(LANDMARKS) == len(set(LANDMARKS)) == 33


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(SquareView(100, 80, 256), [100, 16], id="one-to-one"),
        pytest.param(SquareView(100, 80, 64), [100, 64], id="enlarged"),
        pytest.param(SquareView(100, 80, 64, math.pi / 2), [116, 80], id="head-to-the-right"),
    ],
)
def test_points_are_in_pixels_of_the_frame(view, expected):
    found = read_landmarks(raw_row(nose=(128, 64, 9, 0, 0)), view, input_size=256)
    assert found.points.shape == (33, 2)
    np.testing.assert_allclose(found.points[0], expected, atol=1e-9)


def test_visibility_is_the_sigmoid_of_the_fourth_number():
    raw = raw_row(left_ear=(0, 0, 0, 0, 7), right_foot_index=(0, 0, 0, math.log(3), -7))
    found = read_landmarks(raw, SquareView(0, 0, 1), input_size=256)
    expected = {"left ear": 0.5, "right foot index": 0.75}
    np.testing.assert_allclose(found.visibility, [expected.get(name, 0) for name in LANDMARKS], atol=1e-7)


def test_no_logit_overflows():
    raw = raw_row(nose=(0, 0, 0, 3e38, 0), left_ear=(0, 0, 0, -3e38, 0))
    found = read_landmarks(raw, SquareView(0, 0, 1), input_size=256)
    assert found.visibility[LANDMARKS.index("nose")] == 1
    assert found.visibility[LANDMARKS.index("left ear")] == pytest.approx(0)
