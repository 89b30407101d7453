"""Views of a frame: where their pixels come from, as tables and as properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotation.square_view import SquareView, letterbox, look, overlapping_squares

sides = st.integers(1, 4000)


@pytest.mark.parametrize(
    ("view", "point", "expected"),
    [
        pytest.param(SquareView(50, 40, 20), (0, 0), (40, 30), id="corner"),
        pytest.param(SquareView(50, 40, 20), (0.5, 0.5), (50, 40), id="middle"),
        pytest.param(SquareView(50, 40, 20), (1, 0.25), (60, 35), id="upright"),
        pytest.param(SquareView(50, 40, 20, math.pi / 2), (1, 0.5), (50, 50), id="quarter-turn-clockwise"),
        pytest.param(SquareView(50, 40, 20, math.pi / 2), (0.5, 0), (60, 40), id="its-top-is-to-the-right"),
    ],
)
def test_to_frame(view, point, expected):
    np.testing.assert_allclose(view.to_frame(np.array([point])), [expected], atol=1e-9)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 360), SquareView(320, 180, 640)),
        ((360, 640), SquareView(180, 320, 640)),
        ((256, 256), SquareView(128, 128, 256)),
    ],
)
def test_letterbox(size, expected):
    assert letterbox(*size) == expected


@pytest.mark.parametrize(
    ("size", "overlap", "centres"),
    [
        pytest.param((256, 256), 0.5, [(128, 128)], id="square"),
        pytest.param((1600, 900), 0.5, [(450, 450), (800, 450), (1150, 450)], id="wide"),
        pytest.param((900, 1600), 0.5, [(450, 450), (450, 800), (450, 1150)], id="tall"),
        pytest.param((1600, 900), 0.2, [(450, 450), (1150, 450)], id="less-overlap"),
        pytest.param((200, 100), 0.0, [(50, 50), (150, 50)], id="no-overlap"),
    ],
)
def test_overlapping_squares(size, overlap, centres):
    views = overlapping_squares(*size, overlap)
    assert [(view.centre_x, view.centre_y) for view in views] == centres
    assert {view.side for view in views} == {min(size)}


@given(sides, sides, st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.75]))
def test_squares_cover_the_frame_and_overlap(width, height, overlap):
    if max(width, height) > 50 * min(width, height):
        return
    views = overlapping_squares(width, height, overlap)
    places = [view.centre_x if width >= height else view.centre_y for view in views]
    side, length = sorted((width, height))
    assert places[0] - side / 2 == pytest.approx(0)
    assert places[-1] + side / 2 == pytest.approx(length)
    assert all(step <= side * (1 - overlap) * (1 + 1e-5) for step in np.diff(places))


def gradient(width, height):
    """Red grows to the right, green downwards, by one a pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 77)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(SquareView(100, 70, 64), id="one-to-one"),
        pytest.param(SquareView(100.3, 70.8, 20), id="enlarged"),
        pytest.param(SquareView(100, 70, 100), id="a-little-smaller"),
        pytest.param(SquareView(110.5, 81, 150), id="averaged-first"),
        pytest.param(SquareView(100, 70, 60, 0.4), id="turned"),
        pytest.param(SquareView(100, 90, 120, -2.0), id="turned-and-smaller"),
    ],
)
def test_pixels_come_from_where_the_view_says(view):
    seen = look(gradient(240, 180), view, 64)
    centres = (np.mgrid[:64, :64][::-1].transpose(1, 2, 0) + 0.5) / 64
    # A frame's pixel of number n has its middle at n + 0.5; one level for rounding, one for the averaging's grid.
    np.testing.assert_allclose(seen[..., :2], view.to_frame(centres) - 0.5, atol=2)
    assert (seen[..., 2] >= 76).all()


def test_letterboxed_frame_has_black_bars():
    seen = look(np.full((90, 160, 3), 200, np.uint8), letterbox(160, 90), 64)
    assert (seen[:13] == 0).all()
    assert (seen[15:49] == 200).all()
    assert (seen[51:] == 0).all()


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(0, 1000), st.floats(-4, 4))
def test_any_view_has_its_size(x, y, side, angle):
    assert look(gradient(40, 30), SquareView(x, y, side, angle), 16).shape == (16, 16, 3)


def test_view_beside_the_frame_is_black():
    assert not look(np.full((10, 10, 3), 255, np.uint8), SquareView(100, 100, 20), 8).any()


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_what_is_not_a_frame_is_refused(frame):
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        look(frame, letterbox(4, 4), 8)
