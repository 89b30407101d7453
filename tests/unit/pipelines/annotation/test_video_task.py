"""What becomes of one video: broken ones give a record that says why."""

import os
import subprocess
from collections import Counter

import pytest

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.records import VideoRecord
from pipelines.annotation.video_task import RawVideo, annotate_video
from pipelines.annotation.viewing import watch
from pipelines.media.ffmpeg_binary import ffmpeg_binary
from tests.bright_squares import BLUE, BrightSquareDetector, still, write_scenes
from tests.mutated_video import mutations

CONFIG = AnnotateConfig(min_frames=4, min_px=8, batch=8)


def submit(frames_NHW3):
    return lambda: BrightSquareDetector()(frames_NHW3)


def annotated(path) -> VideoRecord:
    return annotate_video(RawVideo(video_id=path.stem, path=path), CONFIG, submit, lambda frames: None)


def reason(record: VideoRecord) -> str:
    return record.failure.reason if record.failure else "sound"


def test_whatever_is_broken_in_a_video_is_that_videos_failure(tmp_path):
    endings: Counter[str] = Counter()
    for number, mutation in enumerate(mutations(tmp_path, 30, seed=0)):
        path = tmp_path / f"broken{number:02d}.mp4"
        path.write_bytes(mutation.content)
        endings[reason(annotated(path))] += 1
    assert endings.total() == 30
    assert endings["sound"] >= 2
    assert endings["unreadable"] >= 2


def test_a_video_that_is_turned_midway_is_unreadable(tmp_path):
    def ffmpeg(*arguments: str) -> None:
        subprocess.run([ffmpeg_binary(), "-v", "error", *arguments], check=True)

    turn = ("-bsf:v", "h264_metadata=display_orientation=insert:rotate=90")
    for name, filters in (("upright", ()), ("turned", turn)):
        ffmpeg(
            "-f", "lavfi", "-i", "testsrc=d=0.4:s=160x96:r=25", "-c:v", "libx264", "-preset", "ultrafast",
            "-pix_fmt", "yuv420p", *filters, "-f", "h264", str(tmp_path / f"{name}.h264"),
        )  # fmt: skip
    both = tmp_path / "both.h264"
    both.write_bytes(b"".join((tmp_path / f"{name}.h264").read_bytes() for name in ("upright", "turned")))
    path = tmp_path / "video.ts"
    ffmpeg("-fflags", "+genpts", "-r", "25", "-i", str(both), "-c", "copy", str(path))
    record = annotated(path)
    assert record.failure is not None
    assert record.failure.reason == "unreadable"
    assert record.failure.message == f"{path}: is turned another way from frame 10 on. Re-encode it."


def test_any_error_of_the_decoder_is_the_videos(tmp_path, monkeypatch):
    path = write_scenes(tmp_path / "video.mp4", [(BLUE, 5, still((10, 10, 50)))])

    def broken(*_):
        raise MemoryError("cannot allocate\nso much")

    monkeypatch.setattr("pipelines.media.video._upright", broken)
    record = annotated(path)
    assert record.failure is not None
    assert record.failure.reason == "unreadable"
    assert (
        f"{path}: cannot be decoded (MemoryError: cannot allocate so much). Re-encode it."
        == record.failure.message
    )


def test_an_error_of_the_detector_is_not_the_videos(tmp_path):
    path = write_scenes(tmp_path / "video.mp4", [(BLUE, 5, still((10, 10, 50)))])

    def broken(frames_NHW3):
        raise OSError("the detector is broken")

    with pytest.raises(OSError, match="the detector is broken"):
        watch(path, CONFIG, None, broken, lambda frames: None)


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"cafe.m\xe9"])
def test_a_name_that_is_not_utf8_is_unusable(name, tmp_path):
    record = annotated(tmp_path / os.fsdecode(name))
    assert reason(record) == "unusable_name"
