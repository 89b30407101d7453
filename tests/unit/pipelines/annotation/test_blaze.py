"""The way from a network's raw output to boxes in the frame, with a network that is told what to find."""

import numpy as np
import pytest

from pipelines.annotation import blaze
from pipelines.annotation.blaze import BlazeLayout, BlazeNetwork
from pipelines.annotation.square_view import SquareView, letterbox

LAYOUT = BlazeLayout(input_size=64, grids=((32, 1),))  # anchors at 16 and 48 pixels


class WhiteFinder:
    """Finds a box of 8x16 pixels in each quarter of its input whose middle is white."""

    def __init__(self, weights):
        assert weights == b"weights"

    def __call__(self, image_HW3):
        assert image_HW3.dtype == np.float32
        assert image_HW3.shape == (64, 64, 3)
        middles = [image_HW3[y, x].mean() for y in (16, 48) for x in (16, 48)]
        raw = np.tile(np.array([0, 0, 8, 16, 4, 0], dtype=np.float32), (4, 1))
        return [raw, np.array([[2.0 if middle > 0.99 else -20] for middle in middles], dtype=np.float32)]


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(blaze, "LiteRtModel", WhiteFinder)
    return BlazeNetwork(b"weights", LAYOUT)


@pytest.mark.parametrize(
    ("size", "white", "expected"),
    [
        # one pixel of the input is two of the frame; the frame begins at row 14 of the letterbox
        pytest.param((128, 72), (32, 4), [(24, -12), (40, 20), (40, 4)], id="wide"),
        pytest.param((72, 128), (4, 96), [(-4, 80), (12, 112), (12, 96)], id="tall"),
    ],
)
def test_points_are_in_pixels_of_the_frame(network, size, white, expected):
    width, height = size
    frame = np.zeros((height, width, 3), np.uint8)
    frame[max(0, white[1] - 8) : white[1] + 8, max(0, white[0] - 8) : white[0] + 8] = 255
    found = network(frame, [letterbox(width, height)], min_score=0.5)
    np.testing.assert_allclose(found.points, [expected], atol=1e-5)
    assert found.scores == pytest.approx([1 / (1 + np.exp(-2))])


def test_one_object_in_two_views_is_found_once(network):
    frame = np.full((128, 128, 3), 255, np.uint8)
    views = [SquareView(64, 64, 128), SquareView(66, 64, 128)]
    assert len(network(frame, views, min_score=0.5).scores) == 4


def test_nothing_to_find(network):
    frame = np.zeros((100, 100, 3), np.uint8)
    assert network(frame, [letterbox(100, 100)], min_score=0.5).points.shape == (0, 3, 2)
