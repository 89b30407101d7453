"""Cropping, on videos whose frames show their own numbers: exact frames, exact pixels, no silent damage."""

import errno
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipelines.corpus.clip_table import Clip, clip_id
from pipelines.corpus.failures import ClipError
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.crop import crop, plan_crop
from pipelines.cropping.decoder_process import Decoders
from pipelines.media.ffmpeg_binary import ffmpeg_binary
from pipelines.media.probe import probe
from pipelines.media.video import decode_frames
from tests.coded_video import (
    FPS_25,
    FPS_30,
    FPS_2997,
    H264,
    H264_OPEN,
    HEIGHT,
    HEVC,
    MPEG4,
    VP9,
    WIDTH,
    decode,
    read_number,
    run_ffmpeg,
    write_coded,
)

CONFIG = PrepareConfig(size=80)
FRAMES = 130
ONE_GROUP = (*H264, "-g", "750", "-sc_threshold", "0")
SPANS = [(0, 10), (1, 8), (37, 47), (79, 95), (120, 130)]


def clip(start, end, fps=25.0, box=(0, 0, WIDTH, HEIGHT), reference=(WIDTH, HEIGHT)):
    left, top, right, bottom = box
    return Clip(
        clip_id=clip_id("v", start, end), dataset="vox", video_id="v", video_path="v.mp4", start=start, end=end,
        fps=fps, left=left, top=top, right=right, bottom=bottom, ref_width=reference[0],
        ref_height=reference[1], partition="train",
    )  # fmt: skip


def cropped(video: Path, wanted: Clip, config: PrepareConfig = CONFIG):
    out = video.parent / "clip.mp4"
    with Decoders(config) as decoders:
        result = crop(plan_crop(wanted, video, probe(video), config), out, config, decoders)
    frames, rate = decode(out)
    assert len(result.ranges.sizes) == len(frames)
    content = out.read_bytes()
    for offset, size in zip(result.ranges.offsets, result.ranges.sizes, strict=True):
        assert content[offset : offset + 2] == b"\xff\xd8"
        assert content[offset + size - 2 : offset + size] == b"\xff\xd9"
    return frames, rate


def numbers(video, wanted):
    return [read_number(frame) for frame in cropped(video, wanted)[0]]


def _delayed(path, encoder, sound):
    """A video whose sound begins 1.2 s before its picture."""
    picture = write_coded(path.with_name("picture.mkv"), FRAMES, FPS_25, encoder)
    inputs = ("-f", "lavfi", "-i", "sine=d=8", "-itsoffset", "1.2", "-i", picture)
    run_ffmpeg(*inputs, "-map", "1:v", "-map", "0:a", "-c:v", "copy", "-c:a", sound, path)
    return path


VIDEOS = {
    "mp4-25": lambda p: write_coded(p / "v.mp4", FRAMES, FPS_25),
    "mp4-ntsc": lambda p: write_coded(p / "v.mp4", FRAMES, FPS_2997, sound="aac"),
    "mp4-open-groups": lambda p: write_coded(p / "v.mp4", FRAMES, FPS_25, H264_OPEN),
    "mp4-hevc": lambda p: write_coded(p / "v.mp4", FRAMES, FPS_30, HEVC),
    "mp4-delayed": lambda p: _delayed(p / "v.mp4", H264, "aac"),
    "mkv-ntsc": lambda p: write_coded(p / "v.mkv", FRAMES, FPS_2997, sound="aac"),
    "mkv-60": lambda p: write_coded(p / "v.mkv", FRAMES, Fraction(60000, 1001)),
    "webm": lambda p: write_coded(p / "v.webm", FRAMES, FPS_2997, VP9),
    "ts": lambda p: write_coded(p / "v.ts", FRAMES, FPS_25, H264, sound="mp2"),
    "ts-delayed": lambda p: _delayed(p / "v.ts", H264_OPEN, "mp2"),
    "avi": lambda p: write_coded(p / "v.avi", FRAMES, FPS_25, MPEG4),
    "flv": lambda p: write_coded(p / "v.flv", FRAMES, FPS_25),
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_the_frames_asked_for_come_out(tmp_path, kind):
    video = VIDEOS[kind](tmp_path)
    rate = probe(video).fps
    for start, end in SPANS:
        frames, clip_rate = cropped(video, clip(start, end, fps=round(float(rate), 2)))
        assert [read_number(frame) for frame in frames] == list(range(start, end)), (start, end)
        assert clip_rate == rate


@pytest.mark.parametrize(("start", "end"), [(330, 350), (360, 460)])
def test_a_clip_far_behind_its_key_frame_is_whole(tmp_path, start, end):
    """A seek in MPEG-TS lands where it aims, key frame or not: here each 16 s apart."""
    encoder = (*ONE_GROUP, "-g", "400", "-keyint_min", "400")
    video = write_coded(tmp_path / "v.ts", 480, FPS_25, encoder)
    assert numbers(video, clip(start, end)) == list(range(start, end))


def test_metadata_may_count_at_another_rate(tmp_path):
    video = write_coded(tmp_path / "v.mp4", FRAMES, FPS_30)
    assert numbers(video, clip(11, 20, fps=25.0)) == list(range(14, 24))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_dropped_frames_are_left_out_and_the_others_keep_their_time(tmp_path, suffix):
    """Matroska states the rate the recorder aimed at, mp4 the mean: to us one is constant, one variable."""
    full, thinned = write_coded(tmp_path / "full.mp4", FRAMES, FPS_25), tmp_path / f"thinned.{suffix}"
    select = r"select=not(eq(mod(n\,3)\,1)*lt(n\,60))"
    run_ffmpeg("-i", full, "-vf", select, "-fps_mode", "passthrough", *H264, thinned)
    assert probe(thinned).constant_rate == (suffix == "mkv")
    seen = numbers(thinned, clip(24, 39, fps=25.0))
    inside = [number for number in range(24, 39) if number % 3 != 1]
    assert seen == inside if suffix == "mkv" else set(inside[1:-1]) <= set(seen) <= set(range(22, 41))


def rainbow(path: Path, size: str, *options: str) -> Path:
    """A lossless picture with detail and colour at every pixel."""
    source = ("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.4")
    run_ffmpeg(*source, *options, "-c:v", "libx264", "-qp", "0", path)
    return path


def resized(frame: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC))


def difference(frames, reference) -> float:
    return float(
        np.mean(
            [np.abs(a.astype(int) - b.astype(int)).mean() for a, b in zip(frames, reference, strict=True)]
        )
    )


@pytest.mark.parametrize(
    "box", [(20, 16, 84, 80), (21, 16, 85, 80), (20, 17, 84, 81), (21, 17, 86, 80), (95, 31, 160, 96)]
)
@pytest.mark.parametrize("chroma", ["420", "444"])
def test_the_pixels_are_those_of_the_box(tmp_path, box, chroma):
    video = rainbow(tmp_path / "v.mp4", f"{WIDTH}x{HEIGHT}", "-pix_fmt", "yuv420p")
    left, top, right, bottom = box
    # Cropped to its own size, or a pixel less, a clip differs from the video by JPEG's loss and little more.
    side = (right - left) // 2 * 2
    config = PrepareConfig(size=side, chroma=chroma)
    frames, _ = cropped(video, clip(0, 10, box=box), config)
    whole, _ = decode(video)

    def off_by(dx: int, dy: int) -> float:
        moved = [frame[top + dy : bottom + dy, left + dx : right + dx] for frame in whole]
        return difference(frames, [resized(frame, side) for frame in moved])

    shifts = [
        (dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if right + dx <= WIDTH and bottom + dy <= HEIGHT
    ]
    assert min(shifts, key=lambda shift: off_by(*shift)) == (0, 0)
    assert off_by(0, 0) < 10


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-pix_fmt", "yuv420p"), id="untagged"),
        pytest.param(
            (
                "-vf",
                "scale=out_color_matrix=bt709,format=yuv420p",
                "-colorspace",
                "bt709",
                "-color_range",
                "tv",
            ),
            id="bt709",
        ),
        pytest.param(("-vf", "scale=out_range=pc,format=yuvj420p"), id="full-range"),
        pytest.param(("-pix_fmt", "yuv444p"), id="444"),
        pytest.param(("-pix_fmt", "yuv422p10le"), id="10-bit"),
    ],
)
def test_colours_survive(tmp_path, options):
    """Flat colours come out as PyAV shows them in the video, whatever matrix and range that was stored in."""
    video = tmp_path / "v.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", "smptebars=s=320x240:r=25:d=0.2", *options, "-c:v", "libx264", "-qp", "0", video
    )
    frames, _ = cropped(
        video, clip(0, 5, box=(0, 0, 320, 240), reference=(320, 240)), PrepareConfig(size=140)
    )
    shown = decode(video)[0][0]
    for bar in range(7):
        found = frames[0][40, 140 * (2 * bar + 1) // 14].astype(int)
        expected = shown[60, 320 * (2 * bar + 1) // 14].astype(int)
        assert np.abs(found - expected).max() <= 5, bar


def test_boxes_are_scaled_to_the_file_and_clipped_to_it(tmp_path):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    info = probe(video)
    job = plan_crop(clip(0, 5, box=(160, 48, 400, 500), reference=(320, 192)), video, info, CONFIG)
    assert (job.box.left, job.box.top, job.box.right, job.box.bottom) == (80, 24, 160, 96)


def test_a_turned_video_is_cropped_as_it_is_shown(tmp_path):
    upright, turned = write_coded(tmp_path / "u.mp4", 20, FPS_25), tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "180", "-i", upright, "-c", "copy", turned)
    frames, _ = cropped(turned, clip(5, 6))
    assert read_number(frames[0][::-1, ::-1]) == 5
    run_ffmpeg("-display_rotation", "90", "-i", upright, "-c", "copy", turned)
    frames, _ = cropped(turned, clip(5, 6, box=(0, 0, HEIGHT, WIDTH), reference=(HEIGHT, WIDTH)))
    # FFmpeg counts counter-clockwise.
    assert read_number(np.rot90(frames[0], 3)) == 5


def test_the_same_clip_gives_the_same_bytes(tmp_path):
    video = write_coded(tmp_path / "v.mp4", 40, FPS_25)
    job = plan_crop(clip(3, 30, box=(3, 5, 98, 96)), video, probe(video), CONFIG)
    with Decoders(CONFIG) as decoders:
        first = crop(job, tmp_path / "a.mp4", CONFIG, decoders).path.read_bytes()
        assert crop(job, tmp_path / "b.mp4", CONFIG, decoders).path.read_bytes() == first
    assert str(tmp_path).encode() not in first


def failure(video, wanted, config=CONFIG):
    with pytest.raises(ClipError) as error:
        cropped(video, wanted, config)
    assert str(video) in str(error.value)
    assert "\n" not in str(error.value)
    return error.value.rejected


@pytest.mark.parametrize("encoder", [H264, H264_OPEN], ids=["closed", "open"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_clip_behind_the_videos_end_is_too_short(tmp_path, suffix, encoder):
    video = write_coded(tmp_path / f"v.{suffix}", 60, FPS_25, encoder)
    assert failure(video, clip(50, 70)).reason == "too_short"
    assert failure(video, clip(500, 520)).reason == "too_short"
    assert numbers(video, clip(50, 61)) == list(range(50, 60)), "one frame may be absent"


def test_players_show_a_square_whatever_the_boxs_aspect(tmp_path):
    video = write_coded(tmp_path / "v.mp4", FRAMES, FPS_25, [*H264, "-aspect", f"{WIDTH}:{HEIGHT}"])
    cropped(video, clip(0, 5, box=(0, 0, WIDTH // 2, HEIGHT)))
    assert {frame.shape for frame in decode_frames(tmp_path / "clip.mp4")} == {(80, 80, 3)}


def test_no_frame_in_the_span_is_too_short(tmp_path):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    assert failure(video, clip(1, 2, fps=60.0)).reason == "too_short"


def test_a_box_of_no_whole_pixel_is_called_small_not_outside(tmp_path):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    rejected = failure(video, clip(0, 5, box=(5, 5, 6, 6), reference=(2 * WIDTH, HEIGHT)))
    assert (rejected.stage, rejected.reason) == ("crop", "box_too_small")
    assert f"box 5-5-6-6 of a {2 * WIDTH}x{HEIGHT} frame covers no whole pixel" in rejected.message


def test_a_box_outside_the_frame_is_refused(tmp_path):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    rejected = failure(video, clip(0, 5, box=(200, 0, 300, 90), reference=(200, 100)))
    assert (rejected.stage, rejected.reason) == ("crop", "box_outside_frame")


def test_frames_too_large_are_refused(tmp_path):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    assert failure(video, clip(0, 5), replace(CONFIG, max_megapixels=0.01)).reason == "too_large"


def test_a_clip_that_takes_too_long_is_given_up(tmp_path):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    assert failure(video, clip(0, 5), replace(CONFIG, clip_seconds_limit=0.001)).reason == "timed_out"


def test_all_attempts_at_a_clip_share_its_time(tmp_path, monkeypatch):
    """Behind a seek that overshoots twice: each ffmpeg is quick enough, all of them are not."""
    video = write_coded(tmp_path / "v.ts", 480, FPS_25, (*ONE_GROUP, "-g", "400", "-keyint_min", "400"))
    slow = tmp_path / "ffmpeg"
    slow.write_text(f'#!/bin/sh\nsleep 2\nexec "{ffmpeg_binary()}" "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("LIA_FFMPEG", str(slow))
    assert failure(video, clip(330, 350), replace(CONFIG, clip_seconds_limit=4.0)).reason == "timed_out"


def failing_ffmpeg(folder: Path, words: str) -> str:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded"])
def test_a_disk_without_room_is_no_clips_fault(tmp_path, monkeypatch, words):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    monkeypatch.setenv("LIA_FFMPEG", failing_ffmpeg(tmp_path, f"av_interleaved_write_frame(): {words}"))
    with pytest.raises(OSError, match=words):
        cropped(video, clip(0, 5))


@pytest.mark.parametrize("error", [errno.EIO, errno.EDQUOT, errno.ENOSPC])
def test_a_disk_that_fails_is_no_clips_fault(tmp_path, monkeypatch, error):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    monkeypatch.setenv("LIA_FFMPEG", failing_ffmpeg(tmp_path, "Input/output error"))

    def fsync(_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(error)):
        cropped(video, clip(0, 5))


def test_an_ffmpeg_that_fails_without_a_word_fails_its_clip(tmp_path, monkeypatch):
    video = write_coded(tmp_path / "v.mp4", 20, FPS_25)
    monkeypatch.setenv("LIA_FFMPEG", failing_ffmpeg(tmp_path, ""))
    assert failure(video, clip(0, 5)).reason == "encode_failed"


@pytest.mark.parametrize(("suffix", "encoder"), [("ts", H264), ("avi", MPEG4)])
def test_a_hole_in_a_clip_is_damage(tmp_path, suffix, encoder):
    """Twelve hundred zeros take whole packets away: one is missing, or in AVI all later ones move up."""
    video = write_coded(tmp_path / f"v.{suffix}", 70, FPS_25, encoder)
    with av.open(str(video)) as container:
        at = [packet.pos for packet in container.demux(video=0) if packet.pos]
    content = bytearray(video.read_bytes())
    content[at[40] : at[40] + 1200] = bytes(1200)
    video.write_bytes(content)
    assert failure(video, clip(30, 50)).reason == "damaged"
    assert numbers(video, clip(0, 20)) == list(range(20))


def noisy(path: Path, *options: str) -> Path:
    source = "testsrc2=s=320x240:r=25:d=6,noise=alls=20:allf=t"
    run_ffmpeg("-f", "lavfi", "-i", source, *H264, *options, path)
    return path


def big(start, end):
    return clip(start, end, box=(0, 0, 320, 240), reference=(320, 240))


@pytest.mark.parametrize(
    ("suffix", "options"), [("mp4", ("-movflags", "+faststart")), ("mkv", ()), ("ts", ())]
)
def test_a_truncated_video_gives_the_clips_before_its_end(tmp_path, suffix, options):
    video = noisy(tmp_path / f"v.{suffix}", *options)
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 6 // 10])
    assert len(cropped(video, big(10, 60))[0]) == 50
    assert failure(video, big(60, 120)).reason in ("too_short", "damaged")
    assert failure(video, big(130, 150)).reason in ("too_short", "damaged")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_damage_is_seen_in_its_clip_and_only_there(tmp_path, suffix):
    video = noisy(tmp_path / f"v.{suffix}", *(("-movflags", "+faststart") if suffix == "mp4" else ()))
    content = bytearray(video.read_bytes())
    # Several frames: x264's bytes depend on the processor, and damage within one may decode without a word.
    middle, length = len(content) // 2, len(content) // 20
    content[middle : middle + length] = np.random.default_rng(0).bytes(length)
    video.write_bytes(content)
    assert failure(video, big(10, 140)).reason == "damaged"
    assert len(cropped(video, big(10, 40))[0]) == 30
    assert len(cropped(video, big(125, 145))[0]) == 20
