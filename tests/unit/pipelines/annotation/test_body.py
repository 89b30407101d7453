"""Where the body detector looks, and the box of a silhouette."""

import math

import numpy as np
import pytest

from pipelines.annotation.body import body_view, search_views, silhouette_box
from pipelines.annotation.square_view import SquareView


@pytest.mark.parametrize(
    ("size", "count"), [((256, 256), 1), ((1280, 720), 4), ((720, 1280), 4), ((200, 100), 4)]
)
def test_search_views(size, count):
    whole, *_ = views = search_views(*size)
    assert len(views) == count
    assert whole.side == max(size)


@pytest.mark.parametrize(
    ("reach", "angle"),
    [
        pytest.param((100, 20), 0, id="upright"),
        pytest.param((180, 100), math.pi / 2, id="head-to-the-right"),
        pytest.param((20, 100), -math.pi / 2, id="head-to-the-left"),
        pytest.param((100, 180), math.pi, id="head-down"),
    ],
)
def test_body_view_turns_with_the_body(reach, angle):
    view = body_view(np.array([100.0, 100.0]), np.array(reach, dtype=float))
    assert (view.centre_x, view.centre_y) == (100, 100)
    assert view.side == pytest.approx(2.5 * 80)
    assert abs(view.angle) == pytest.approx(abs(angle))
    # The reach lies straight above the middle of the view.
    np.testing.assert_allclose(view.to_frame(np.array([(0.5, 0.1)])), [reach], atol=1e-9)


def block(top, bottom, left, right, size=10):
    mask = np.zeros((size, size), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "view", "expected"),
    [
        pytest.param(block(2, 8, 3, 5), SquareView(50, 50, 100), (30, 20, 50, 80), id="upright"),
        pytest.param(block(2, 8, 3, 5), SquareView(50, 50, 100, math.pi / 2), (20, 30, 80, 50), id="turned"),
        pytest.param(block(0, 10, 0, 10), SquareView(95, 50, 40), (75, 30, 99, 70), id="beyond-the-frame"),
        pytest.param(block(0, 10, 0, 10), SquareView(300, 50, 40), None, id="outside"),
        pytest.param(block(0, 0, 0, 0), SquareView(50, 50, 40), None, id="empty"),
    ],
)
def test_silhouette_box(mask, view, expected):
    box = silhouette_box(mask, view, width=97, height=100)
    if expected is None:
        assert box is None
    else:
        np.testing.assert_allclose(box.ravel(), expected, atol=1e-9)


def test_pixels_beyond_the_frame_do_not_widen_the_box():
    mask = block(0, 5, 4, 6) | block(5, 10, 0, 10)  # the lower, broad half lies under the frame
    box = silhouette_box(mask, SquareView(50, 100, 100), width=200, height=100)
    np.testing.assert_allclose(box.ravel(), [40, 50, 60, 100])
