"""Are these the frames that were asked for? Judged from timestamps."""

from fractions import Fraction

import pytest

from pipelines.cropping.selection import Window, judge_times, window_of
from pipelines.media.probe import VideoInfo

START = Fraction(7, 5)


def info(constant: bool = True) -> VideoInfo:
    return VideoInfo(
        width=64, height=64, fps=Fraction(25), constant_rate=constant, n_frames=None, duration_s=None,
        start_s=START, container_start_s=Fraction(1), stream_index=0, rotation=0, has_audio=False,
        codec="h264", container="mpegts",
    )  # fmt: skip


def times(*frames: float) -> list[Fraction]:
    return [START + Fraction(frame) / 25 for frame in frames]


def test_the_window_opens_half_a_frame_early():
    assert window_of(range(10, 12), info()) == Window(START + Fraction("0.38"), START + Fraction("0.46"))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(times(10, 11, 12), "exact", id="exact"),
        pytest.param(times(10.2, 10.9, 12.1), "exact", id="jitter"),
        pytest.param(times(12), "late", id="seek-overshot"),
        pytest.param([], "late", id="nothing"),
        pytest.param(times(10, 12), "gapped", id="hole"),
        pytest.param(times(10, 11), "gapped", id="ends-early"),
        pytest.param(times(9.5, 10.5, 11.5), "unreliable", id="counted-from-the-seek-target"),
        pytest.param(times(10, 10, 11), "unreliable", id="same-time-twice"),
        pytest.param(times(9, 10, 11), "unreliable", id="too-early"),
    ],
)
def test_judge_times(found, expected):
    assert judge_times(found, range(10, 13), info()) == expected


def test_a_span_of_a_billion_frames_takes_no_memory(little_memory):
    assert judge_times(times(0, 1, 2), range(999_999_999), info()) == "gapped"


@pytest.mark.parametrize(
    ("found", "expected"), [(times(10.4, 11.7), "exact"), (times(11.5, 12), "late"), ([], "late")]
)
def test_a_variable_rate_is_only_asked_when_it_began(found, expected):
    assert judge_times(found, range(10, 13), info(constant=False)) == expected
