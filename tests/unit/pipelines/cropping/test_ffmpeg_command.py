"""What ffmpeg is told, and what it must never be told."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from pipelines.corpus.frame_sequence import FrameSequence
from pipelines.corpus.spans import Box
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.ffmpeg_command import Approach, CropJob, arguments, sequence_arguments
from pipelines.media.probe import VideoInfo

INFO = VideoInfo(
    width=640, height=360, fps=Fraction(30000, 1001), constant_rate=True, n_frames=None, duration_s=None,
    start_s=Fraction(3, 2), container_start_s=Fraction(1), stream_index=1, rotation=0, has_audio=True,
    codec="h264", container="mov,mp4,m4a",
)  # fmt: skip
JOB = CropJob(
    video=Path("/videos/-i;rm -rf.mp4"), info=INFO, frames=range(300, 360), spare=1, box=Box(10, 20, 110, 120)
)
CONFIG = PrepareConfig(size=128)
SEEK = Approach(lead=0, strict=True)


def command(job: CropJob = JOB, approach: Approach = SEEK) -> list[str]:
    return arguments(job, Path("/tmp/out.mp4"), CONFIG, approach)


def option(name: str, words: list[str]) -> str:
    return words[words.index(name) + 1]


def graph(**changes: object) -> str:
    return option("-filter_complex", command(replace(JOB, **changes)))


def test_the_video_is_one_argument_read_as_a_local_file():
    assert option("-i", command()) == "file:/videos/-i;rm -rf.mp4"
    assert option("-protocol_whitelist", command()) == "file"
    assert option("-f", command()) == "mov"
    assert {"-nostdin", "-max_pixels", "-xerror"} <= set(command())


def test_the_seek_counts_from_the_containers_start_and_the_cut_in_its_time():
    first = 1.5 + 299.5 * 1001 / 30000
    assert float(option("-ss", command())) == pytest.approx(first - 1, abs=1e-6)
    assert f"trim=end={first + 60 * 1001 / 30000:.6f}:start={first:.6f}" in graph()


def test_a_lead_moves_the_seek_only():
    early = command(approach=Approach(lead=60, strict=False))
    assert float(option("-ss", early)) == pytest.approx(float(option("-ss", command())) - 2.002, abs=1e-6)
    assert option("-filter_complex", early) == option("-filter_complex", command())
    assert "-xerror" not in early


def test_a_clip_at_the_start_needs_no_seek():
    assert "-ss" not in command(replace(JOB, frames=range(0, 10), info=replace(INFO, start_s=Fraction(1))))


def test_frames_may_be_counted_instead():
    counted = command(approach=Approach(lead=None, strict=True))
    assert "-ss" not in counted
    assert "trim=end_frame=360:start_frame=300" in option("-filter_complex", counted)


def test_even_boxes_are_cropped_as_they_are():
    assert "crop=100:100:10:20" in graph()
    assert "yuv444p" not in graph()


@pytest.mark.parametrize("box", [Box(11, 20, 111, 120), Box(10, 21, 110, 121), Box(10, 20, 111, 120)])
def test_odd_boxes_are_cropped_at_full_chroma(box):
    around, full, exact = (
        graph(box=box).index("crop="),
        graph(box=box).index("yuv444p"),
        graph(box=box).rindex("crop="),
    )
    assert around < full < exact
    assert graph(box=box)[exact:].startswith(f"crop={box.width}:{box.height}:{box.left % 2}:{box.top % 2}")


def test_output_depends_on_no_time_and_carries_no_metadata():
    words = command()
    assert (option("-flags:v", words), option("-fflags", words)) == ("+bitexact", "+bitexact")
    assert (option("-map_metadata", words), option("-map_chapters", words)) == ("-1", "-1")
    assert option("-enc_time_base", words) == "1001:30000"


SEQUENCE = FrameSequence(
    folder=Path("/frames/50% -i"),
    prefix="",
    digits=7,
    suffix=".png",
    first=1,
    count=400,
    width=640,
    height=360,
)


def test_images_are_read_by_number_as_local_files():
    words = sequence_arguments(JOB, SEQUENCE, Path("/tmp/out.mp4"), CONFIG)
    assert option("-i", words) == "file:/frames/50%% -i/%07d.png"
    assert (option("-f", words), option("-pattern_type", words)) == ("image2", "sequence")
    assert (option("-start_number", words), option("-framerate", words)) == ("301", "30000/1001")
    assert option("-c:v", words) == "png"
    assert option("-protocol_whitelist", words) == "file"
    assert {"-nostdin", "-max_pixels", "-xerror", "-err_detect"} <= set(words)
    assert "trim=end_frame=60" in option("-filter_complex", words)


def test_images_and_videos_are_written_alike():
    images = sequence_arguments(JOB, SEQUENCE, Path("/tmp/out.mp4"), CONFIG)
    writing = [
        words[words.index("-map") + 2 : words.index("file:/tmp/out.mp4")] for words in (images, command())
    ]
    assert writing[0] == writing[1]
