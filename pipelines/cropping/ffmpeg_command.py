"""The ffmpeg command line of one clip: decode, crop, scale and encode as motion JPEG in mp4, one thread.

The clip comes out of a video file, or out of a folder of numbered images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from pipelines.corpus.frame_sequence import ERROR_DETECTION, FrameSequence
from pipelines.corpus.spans import Box
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.selection import window_of
from pipelines.media.probe import VideoInfo

# Bicubic: lanczos gained 0.06 dB or less over it for 8 % more time; area and bilinear lost 0.1 to 0.7 dB.
# accurate_rnd and bitexact give the same result on every processor, full_chroma_int keeps chroma unbiased.
SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int+bitexact"
MICROSECONDS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CropJob:
    """Which frames and which pixels of which file."""

    video: Path
    info: VideoInfo
    frames: range
    """Native frames wanted."""
    spare: int
    """How many of them may be absent."""
    box: Box
    """Native pixels, inside the frame."""


@dataclass(frozen=True, kw_only=True)
class Approach:
    """How ffmpeg gets at the frames."""

    lead: int | None
    """Frames before the first wanted one that the seek aims at; None counts frames from the file's start,
    which needs no timestamps but decodes everything before the clip."""
    strict: bool
    """Whether any damage that ffmpeg meets, inside the clip or near it, ends the work."""


def arguments(job: CropJob, out: Path, config: PrepareConfig, approach: Approach) -> list[str]:
    """The command line without the program. On standard output it prints a line a frame, with the frame's
    timestamp in microseconds of the container's time."""
    picture = ffmpeg.input(f"file:{job.video.absolute()}", **_reading(job, config, approach))
    picture = _select(picture[str(job.info.stream_index)], job, approach)
    picture = picture.filter("settb", f"1/{MICROSECONDS}")
    picture = picture.filter("metadata", "add", key="lia", value="1").filter("metadata", "print", file="-")
    picture = _scale(_crop(picture, job.box), config)
    # Even spacing at the file's own rate, whatever jitter its timestamps had.
    rate = job.info.fps
    picture = picture.filter("settb", f"{rate.denominator}/{rate.numerator}").filter("setpts", "N")
    # Left to itself ffmpeg shifts timestamps, by amounts that depend on the container and the streams in use.
    absolute = ["-copyts"]
    strict = ["-xerror"] if approach.strict else []
    return _command_line(picture, job, out, config, [*absolute, *strict])


def sequence_arguments(job: CropJob, sequence: FrameSequence, out: Path, config: PrepareConfig) -> list[str]:
    """The command line, without the program, for a folder of images; any damage in one ends the work."""
    options = {
        "f": "image2",
        "pattern_type": "sequence",
        "start_number": sequence.first + job.frames.start,
        "framerate": f"{job.info.fps.numerator}/{job.info.fps.denominator}",
        "c:v": sequence.decoder,
        "err_detect": ERROR_DETECTION,
        **_limits(config),
    }
    picture = ffmpeg.input(f"file:{sequence.pattern}", **options)["0"]
    # An input that goes on would keep ffmpeg reading: the output's own limit stops it.
    picture = _scale(_crop(picture.filter("trim", end_frame=len(job.frames)), job.box), config)
    return _command_line(picture, job, out, config, ["-xerror"])


def _command_line(
    picture: Any, job: CropJob, out: Path, config: PrepareConfig, options: Sequence[str]
) -> list[str]:
    quiet = ["-nostdin", "-hide_banner", "-loglevel", "error", "-filter_complex_threads", "1"]
    output = ffmpeg.output(picture, f"file:{out}", **_writing(job, config)).global_args(*quiet, *options)
    return [str(argument) for argument in output.overwrite_output().get_args()]


def _reading(job: CropJob, config: PrepareConfig, approach: Approach) -> dict[str, Any]:
    options: dict[str, Any] = {
        "f": job.info.container.split(",")[0],
        **_limits(config),
    }
    if approach.lead is not None:
        begin = window_of(job.frames, job.info).begin - approach.lead / job.info.fps
        since_start = begin - job.info.container_start_s
        if since_start > 0:
            options["ss"] = _seconds(since_start)
    return options


def _limits(config: PrepareConfig) -> dict[str, Any]:
    """Local files only, one thread, no larger picture than is allowed."""
    return {
        "protocol_whitelist": "file",
        "threads": 1,
        "max_pixels": int(config.max_megapixels * 1e6),
    }


def _select(picture: Any, job: CropJob, approach: Approach) -> Any:
    if approach.lead is None:
        return picture.filter("trim", start_frame=job.frames.start, end_frame=job.frames.stop)
    window = window_of(job.frames, job.info)
    return picture.filter("trim", start=_seconds(window.begin), end=_seconds(window.end))


def _crop(picture: Any, box: Box) -> Any:
    """Cut the box. Chroma of 4:2:0 lies on even pixels only: an odd box is cut from its even surroundings
    after chroma was brought to full resolution."""
    if not (box.left % 2 or box.top % 2 or box.width % 2 or box.height % 2):
        return picture.filter("crop", box.width, box.height, box.left, box.top)
    left, top = box.left - box.left % 2, box.top - box.top % 2
    right, bottom = box.right + box.right % 2, box.bottom + box.bottom % 2
    # The frame itself may have odd sides.
    width, height = f"min({right - left},iw-{left})", f"min({bottom - top},ih-{top})"
    around = picture.filter("crop", width, height, left, top)
    full = around.filter("scale", flags=SCALE_FLAGS).filter("format", "yuv444p")
    return full.filter("crop", box.width, box.height, box.left - left, box.top - top)


def _scale(picture: Any, config: PrepareConfig) -> Any:
    """To the square, in the form that JPEG takes: full range BT.601 whatever the video was."""
    scaled = picture.filter(
        "scale", config.size, config.size, flags=SCALE_FLAGS, out_range="pc", out_color_matrix="bt601"
    )
    # The scaler would note pixels so oblong that players show the box's own aspect.
    return scaled.filter("setsar", 1).filter("format", f"yuvj{config.chroma}p")


def _writing(job: CropJob, config: PrepareConfig) -> dict[str, Any]:
    rate = job.info.fps
    return {
        "f": "mp4",
        "c:v": "mjpeg",
        "q:v": config.jpeg_q,
        "threads": 1,
        "fps_mode": "passthrough",
        "enc_time_base": f"{rate.denominator}:{rate.numerator}",
        "map_metadata": -1,
        "map_chapters": -1,
        "flags:v": "+bitexact",
        "fflags": "+bitexact",
    }


def _seconds(value: Fraction) -> str:
    return f"{float(value):.6f}"
