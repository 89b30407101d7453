"""The square that is cut for a track."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.regions import Region
from pipelines.annotation.squares import crop_square, nearest_square
from pipelines.corpus.spans import Box

REJECT = AnnotateConfig()
SHIFT = replace(REJECT, out_of_frame="shift")
FRAME = (640, 360)


@pytest.mark.parametrize(
    ("region", "rejecting", "shifting"),
    [
        pytest.param(
            Region(100, 100, 200, 200), Box(90, 90, 210, 210), Box(90, 90, 210, 210), id="widened-by-a-fifth"
        ),
        pytest.param(
            Region(100, 100, 150, 200),
            Box(66, 90, 186, 210),
            Box(66, 90, 186, 210),
            id="square-of-longer-side",
        ),
        pytest.param(Region(4, 100, 104, 200), None, Box(0, 90, 120, 210), id="over-the-left"),
        pytest.param(Region(600, 300, 640, 360), None, Box(568, 288, 640, 360), id="over-the-corner"),
        pytest.param(Region(100, 0, 200, 300), None, Box(0, 0, 360, 360), id="as-high-as-the-frame"),
        pytest.param(Region(100, 0, 300, 301), None, None, id="larger-than-the-frame"),
    ],
)
def test_crop_square(region, rejecting, shifting):
    assert crop_square(region, FRAME, REJECT) == rejecting
    assert crop_square(region, FRAME, SHIFT) == shifting


edges = st.floats(-200, 2000)


@given(edges, edges, st.floats(0, 1500), st.floats(0, 1500), st.integers(16, 2000), st.integers(16, 2000),
       st.floats(1, 3), st.sampled_from(["reject", "shift"]))  # fmt: skip
def test_a_crop_is_square_and_inside_the_frame_or_there_is_none(
    left, top, width, height, frame_width, frame_height, widen, out_of_frame
):
    config = AnnotateConfig(widen=widen, out_of_frame=out_of_frame)
    region = Region(left, top, left + width, top + height)
    box = crop_square(region, (frame_width, frame_height), config)
    if box is None:
        return
    assert box.width == box.height > 0
    assert 0 <= box.left < box.right <= frame_width
    assert 0 <= box.top < box.bottom <= frame_height
    assert not (box.left % 2)
    assert not (box.top % 2)
    assert not (box.width % 2)
    if out_of_frame == "reject":
        assert abs(box.width - widen * max(width, height)) <= 1
        assert abs((box.left + box.right) / 2 - region.centre[0]) <= 1


@pytest.mark.parametrize(
    ("region", "widen", "expected"),
    [
        pytest.param(Region(100, 100, 200, 200), 1.2, Box(90, 90, 210, 210), id="widened"),
        pytest.param(Region(100, 100, 151, 201), 1, Box(75, 100, 176, 201), id="odd-and-not-widened"),
        pytest.param(Region(4, 100, 104, 200), 1.2, Box(0, 90, 120, 210), id="moved-inside"),
        pytest.param(Region(-50, -50, 50, 50), 1, Box(0, 0, 100, 100), id="middle-in-the-corner"),
        pytest.param(Region(100, 0, 600, 300), 1, Box(170, 0, 530, 360), id="no-larger-than-the-frame"),
        pytest.param(Region(10, 10, 10.2, 10.2), 1, Box(10, 10, 11, 11), id="at-least-a-pixel"),
    ],
)
def test_nearest_square(region, widen, expected):
    assert nearest_square(region, FRAME, widen) == expected


@given(edges, edges, st.floats(0, 1500), st.floats(0, 1500), st.integers(1, 2000), st.integers(1, 2000),
       st.floats(1, 3))  # fmt: skip
def test_the_nearest_square_is_always_one_inside_the_frame(
    left, top, width, height, frame_width, frame_height, widen
):
    box = nearest_square(Region(left, top, left + width, top + height), (frame_width, frame_height), widen)
    assert box.width == box.height > 0
    assert 0 <= box.left < box.right <= frame_width
    assert 0 <= box.top < box.bottom <= frame_height
