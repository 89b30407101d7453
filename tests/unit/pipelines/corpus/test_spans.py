"""Frame and box arithmetic, as tables and as properties."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.spans import Box, Span, clip_box, exact_rate, native_frames, scale_box, spare_frames

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("span", "real_fps", "expected"),
    [
        pytest.param(Span(10, 20, fps=25.0), 25.0, range(10, 20), id="same-rate"),
        pytest.param(Span(10, 20, fps=25.0), 30.0, range(12, 24), id="faster-file"),
        pytest.param(Span(11, 20, fps=25.0), 30.0, range(14, 24), id="rounds-up"),
        pytest.param(Span(12, 24, fps=30.0), 25.0, range(10, 20), id="slower-file"),
        pytest.param(Span(11, 13, fps=30.0), 25.0, range(10, 11), id="slower-file-drops"),
        pytest.param(Span(0, 1, fps=60.0), 25.0, range(0, 1), id="first-frame"),
        pytest.param(Span(1, 2, fps=60.0), 25.0, range(1, 1), id="no-frame-in-span"),
        pytest.param(Span(100_000, 100_010, fps=29.97), NTSC, range(100_000, 100_010), id="rounded-ntsc"),
        pytest.param(Span(500, 600, fps=23.97), Fraction(24000, 1001), range(500, 600), id="truncated-film"),
        pytest.param(
            Span(1000, 1100, fps=24.0), Fraction(24000, 1001), range(1000, 1099), id="film-is-not-24"
        ),
        pytest.param(Span(0, 250, fps=25.0), NTSC, range(0, 300), id="pal-to-ntsc"),
    ],
)
def test_native_frames(span, real_fps, expected):
    assert native_frames(span, real_fps) == expected


rates = st.sampled_from(
    [Fraction(10), Fraction(15), Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(50), Fraction(60)]
)


@given(st.integers(0, 3000), st.integers(1, 300), st.sampled_from([15.79, 24.0, 25.0, 29.97, 59.94]), rates)
def test_native_frames_are_those_of_the_definition(start, length, stated, real):
    end, exact = start + length, exact_rate(stated)
    frames = native_frames(Span(start, end, stated), real)
    if abs(exact - real) < Fraction(1, 100):
        assert frames == range(start, end)
        return
    for frame in {frames.start - 1, frames.start, frames.stop - 1, frames.stop}:
        inside = start * real <= frame * exact < end * real
        assert (frame in frames) == inside


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=6, unique=True).map(sorted), rates, rates)
def test_adjoining_spans_share_no_frame_and_lose_none(cuts, stated, real):
    pieces = [native_frames(Span(a, b, float(stated)), real) for a, b in itertools.pairwise(cuts)]
    together = [frame for piece in pieces for frame in piece]
    whole = native_frames(Span(cuts[0], cuts[-1], float(stated)), real)
    assert together == list(whole)


def test_stated_rates_are_decimals():
    assert exact_rate(29.97) == Fraction(2997, 100)


@pytest.mark.parametrize(
    ("stated", "real", "expected"),
    [(25.0, Fraction(25), 1), (25.0, Fraction(30), 2), (30.0, Fraction(25), 1)],
)
def test_spare_frames_are_one_of_the_metadata(stated, real, expected):
    assert spare_frames(Span(0, 10, stated), real) == expected


@pytest.mark.parametrize(
    ("box", "reference", "real", "expected"),
    [
        pytest.param(Box(10, 20, 30, 40), (100, 100), (100, 100), Box(10, 20, 30, 40), id="same-size"),
        pytest.param(Box(10, 20, 30, 40), (100, 100), (200, 50), Box(20, 10, 60, 20), id="each-axis-its-own"),
        pytest.param(Box(1, 1, 13, 13), (16, 16), (8, 8), Box(1, 1, 6, 6), id="halves-go-inwards"),
        pytest.param(
            Box(10, 0, 422, 412), (1280, 720), (960, 540), Box(8, 0, 316, 309), id="keeps-the-centre"
        ),
        pytest.param(Box(0, 0, 29, 29), (40, 40), (30, 30), Box(0, 0, 22, 22), id="quarters-round"),
        pytest.param(Box(-8, 0, 8, 8), (16, 16), (8, 8), Box(-4, 0, 4, 4), id="beyond-the-edge"),
    ],
)
def test_scale_box(box, reference, real, expected):
    assert scale_box(box, reference, real) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param(Box(10, 10, 20, 20), Box(10, 10, 20, 20), id="inside"),
        pytest.param(Box(-5, -5, 20, 20), Box(0, 0, 20, 20), id="over-top-left"),
        pytest.param(Box(90, 30, 130, 60), Box(90, 30, 100, 50), id="over-bottom-right"),
        pytest.param(Box(-50, -50, 500, 500), Box(0, 0, 100, 50), id="all-round"),
        pytest.param(Box(100, 0, 130, 50), None, id="right-of-it"),
        pytest.param(Box(0, -20, 30, 0), None, id="above-it"),
        pytest.param(Box(5, 5, 5, 9), None, id="no-area"),
    ],
)
def test_clip_box(box, expected):
    assert clip_box(box, (100, 50)) == expected


sides = st.integers(1, 4000)


@given(
    st.integers(-500, 4000),
    st.integers(-500, 4000),
    sides,
    sides,
    st.tuples(sides, sides),
    st.tuples(sides, sides),
)
def test_boxes_end_up_inside_the_frame(left, top, width, height, reference, real):
    box = clip_box(scale_box(Box(left, top, left + width, top + height), reference, real), real)
    if box is not None:
        assert 0 <= box.left < box.right <= real[0]
        assert 0 <= box.top < box.bottom <= real[1]
