"""Where the body detector looks, whom it finds, and the box of a silhouette."""

import math

import numpy as np
import pytest

from pipelines.annotation import body
from pipelines.annotation.body import BodyDetector, PersonFinder, body_view, search_views, silhouette_box
from pipelines.annotation.candidates import Candidates
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


class GreyNetworks:
    """In place of both networks: someone at each place told; the landmark network is as sure as the place is light."""

    places = ()
    """(x of the hips, how sure the detector is) of each; all are 20 pixels from hips to reach, at height 50."""

    def __init__(self, *_):
        pass

    def __call__(self, *given):
        return self.landmarks(*given) if len(given) == 1 else self.detect()

    def detect(self):
        points = [[(x - 5, 45), (x + 5, 55), (x, 50), (x, 30)] for x, _ in self.places]
        return Candidates(np.reshape(points, (-1, 4, 2)), np.array([score for _, score in self.places]))

    def landmarks(self, view_HW3):
        raw = np.full((39, 5), 128, np.float32)  # all in the middle
        return [raw.ravel(), view_HW3[128, 128, :1], np.ones((256, 256, 1), np.float32), None, None]


@pytest.fixture
def grey_frame(monkeypatch):
    monkeypatch.setattr(body, "BlazeNetwork", GreyNetworks)
    monkeypatch.setattr(body, "LiteRtModel", GreyNetworks)
    frame = np.zeros((100, 300, 3), np.uint8)
    frame[:, :100], frame[:, 100:200] = 153, 255  # 0.6 and 1
    return frame


@pytest.mark.parametrize(
    ("places", "surest"),
    [
        pytest.param([(50, 0.9)], (50, 0.54), id="one"),
        pytest.param([(50, 0.9), (150, 0.8)], (150, 0.8), id="by-both-networks"),
        pytest.param([(250, 1.0), (150, 0.7)], (150, 0.7), id="who-is-no-person-does-not-count"),
        pytest.param([(50, 0.8)], None, id="not-sure-enough"),
        pytest.param([], None, id="no-one"),
    ],
)
def test_surest_person(grey_frame, monkeypatch, places, surest):
    monkeypatch.setattr(GreyNetworks, "places", places)
    found = PersonFinder(b"detection", b"landmark", 0.5).surest(grey_frame)
    if surest is None:
        assert found is None
    else:
        x, score = surest
        assert found.score == pytest.approx(score)
        np.testing.assert_allclose(found.landmarks.points, np.tile((x, 50), (33, 1)), atol=1e-9)
        assert found.mask.all()


def test_detector_and_finder_see_the_same_people(grey_frame, monkeypatch):
    monkeypatch.setattr(GreyNetworks, "places", [(50, 0.9), (150, 0.8), (250, 1.0)])
    (found,) = BodyDetector(b"detection", b"landmark", 0.5)(grey_frame[None])
    # The silhouettes fill the views, which are 50 pixels wide.
    assert [(one.left, one.top, one.right, one.bottom) for one in found] == [
        (125, 25, 175, 75),
        (25, 25, 75, 75),
    ]
    assert [one.score for one in found] == pytest.approx([0.8, 0.54])
