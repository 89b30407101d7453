"""The second opinion on a clip: sound, damaged, or past the end."""

from fractions import Fraction

import pytest

from pipelines.corpus.failures import ClipError
from pipelines.cropping.selection import window_of
from pipelines.cropping.span_check import SpanVerdict, check_span
from pipelines.media.probe import probe
from tests.coded_video import FPS_25, H264, H264_OPEN, write_coded

FRAMES = 100


@pytest.fixture(scope="module", params=["mp4", "open.mp4", "mkv", "ts"])
def video(request, tmp_path_factory):
    encoder = H264_OPEN if request.param.startswith("open") else H264
    return write_coded(tmp_path_factory.mktemp("video") / f"v.{request.param}", FRAMES, FPS_25, encoder)


def check(video, frames: range) -> SpanVerdict:
    info = probe(video)
    return check_span(video, info.stream_index, window_of(frames, info))


@pytest.mark.parametrize("frames", [range(0, 10), range(37, 62), range(80, 99)], ids=str)
def test_sound_frames_are_counted(video, frames):
    assert check(video, frames) == SpanVerdict(len(frames), None, None)


def test_the_end_of_the_video_is_told(video):
    last = float(probe(video).start_s + Fraction(FRAMES - 1) / FPS_25)
    verdict = check(video, range(90, 120))
    assert (verdict.frames, verdict.damaged_at_s) == (10, None)
    assert verdict.ended_at_s == pytest.approx(last, abs=0.001)
    beyond = check(video, range(500, 510))
    assert beyond.frames == 0
    assert beyond.ended_at_s == pytest.approx(last, abs=0.001)


def test_a_file_that_went_away_is_unreadable(video, tmp_path):
    info = probe(video)
    with pytest.raises(ClipError, match="cannot be read any more"):
        check_span(tmp_path / "gone.mp4", 0, window_of(range(3), info))
