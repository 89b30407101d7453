"""Frames are numbered as `prepare` will find them."""

from fractions import Fraction

import pytest

from pipelines.annotation.frame_numbers import FrameNumbers
from pipelines.cropping.selection import window_of
from pipelines.errors import VideoError
from pipelines.media.probe import VideoInfo

NTSC = Fraction(30000, 1001)


def info(fps: Fraction, start: Fraction = Fraction(0)) -> VideoInfo:
    return VideoInfo(
        width=64, height=64, fps=fps, constant_rate=True, n_frames=None, duration_s=None, start_s=start,
        container_start_s=start, stream_index=0, rotation=0, has_audio=False, codec="h264", container="mov",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fps", "times", "expected"),
    [
        pytest.param(25, [0, 0.04, 0.08], [0, 1, 2], id="constant"),
        pytest.param(25, [0, 0.041, 0.079], [0, 1, 2], id="jitter"),
        pytest.param(25, [0, 0.04, 0.2], [0, 1, 5], id="dropped-frames-leave-a-gap"),
        pytest.param(25, [0, 0.01, 0.03, 0.04], [0, None, 1, None], id="two-on-one-number"),
        pytest.param(25, [0, 0.04, 0.0], [0, 1, None], id="backwards"),
        pytest.param(25, [None, None, None], [0, 1, 2], id="without-times"),
        pytest.param(25, [0, None, 0.08], [0, 1, 2], id="one-without"),
    ],
)
def test_numbers(fps, times, expected):
    numbers = FrameNumbers(info(Fraction(fps)), "v.mp4")
    exact = [None if time is None else Fraction(str(time)) for time in times]
    assert [numbers.next(time) for time in exact] == expected


@pytest.mark.parametrize("fps", [Fraction(25), NTSC, Fraction(24000, 1001)])
def test_a_number_falls_in_the_window_that_prepare_cuts(fps):
    video = info(fps, start=Fraction(7, 5))
    numbers = FrameNumbers(video, "v.mp4")
    for tick in range(0, 400):
        time = video.start_s + tick * Fraction(1, 90)
        number = numbers.next(time)
        if number is not None:
            window = window_of(range(number, number + 1), video)
            assert window.begin <= time < window.end


def test_absurd_times_are_a_damaged_video():
    with pytest.raises(VideoError, match="a frame is said to be shown at"):
        FrameNumbers(info(Fraction(25)), "v.mp4").next(Fraction(10**12))
