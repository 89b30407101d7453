"""One clip: carry span and box over to the file, let ffmpeg write it, check what came out.

Every clip's frames are verified by timestamp (`selection`), so a container whose seek overshoots costs a
second attempt rather than wrong frames; damage in the clip's frames is never passed over in silence.
"""

import errno
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipelines.corpus.clip_table import Clip
from pipelines.corpus.failures import ClipError
from pipelines.corpus.frame_sequence import FrameSequence
from pipelines.corpus.spans import clip_box, native_frames, scale_box, spare_frames
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.decoder_process import Decoders
from pipelines.cropping.ffmpeg_command import MICROSECONDS, Approach, CropJob, arguments, sequence_arguments
from pipelines.cropping.jpeg_ranges import JpegRanges, read_jpeg_ranges
from pipelines.cropping.process_limits import ATTEMPTS, death, limit_process
from pipelines.cropping.selection import Outcome, judge_times, window_of
from pipelines.cropping.span_check import SpanVerdict
from pipelines.media.ffmpeg_binary import ffmpeg_binary
from pipelines.media.probe import VideoInfo

# Containers with an index of key frames: a seek lands where it aims, except behind an open group of pictures.
INDEXED = ("mov", "matroska")
SHORT_LEAD_S, LONG_LEAD_S = 2, 10
STDERR_TAIL_BYTES = 4096

_TIME_LINE = re.compile(rb"^frame:\d+\s+pts:(-?\d+)", re.MULTILINE)
# Addresses differ from run to run; records must not.
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class Cropped:
    """A clip as encoded."""

    path: Path
    """The mp4."""
    ranges: JpegRanges
    """Where each frame's JPEG lies in it."""


@dataclass(frozen=True)
class _Attempt:
    outcome: Outcome
    ranges: JpegRanges
    complaint: str
    """What ffmpeg last said, if anything."""


def plan_crop(clip: Clip, video: Path, info: VideoInfo, config: PrepareConfig) -> CropJob:
    """Carry the clip's frames and box over to the file; raises ClipError if it shows neither."""
    size = (info.width, info.height)
    if info.width * info.height > config.max_megapixels * 1e6:
        raise ClipError(
            "too_large",
            f"{video}: frames of {info.width}x{info.height} exceed "
            f"max_megapixels = {config.max_megapixels:g}.",
        )
    box = clip_box(scale_box(clip.box, (clip.ref_width, clip.ref_height), size), size)
    if box is None:
        raise ClipError(
            "box_outside_frame",
            f"{video}: box {clip.left}-{clip.top}-{clip.right}-{clip.bottom} lies outside the "
            f"{clip.ref_width}x{clip.ref_height} frame.",
        )
    frames = native_frames(clip.span, info.fps)
    if not frames:
        raise ClipError(
            "too_short", f"{video}: at {float(info.fps):g} fps no frame falls in the clip's span."
        )
    return CropJob(video=video, info=info, frames=frames, spare=spare_frames(clip.span, info.fps), box=box)


def crop(job: CropJob, out: Path, config: PrepareConfig, decoders: Decoders) -> Cropped:
    """Write the clip to `out`; raises ClipError if it is short, damaged, takes too long or crashes ffmpeg.

    OSError means that the machine, not the clip, is at fault (a full disk).
    """
    indexed = job.info.container.split(",")[0] in INDEXED
    attempt = _attempt(job, out, config, decoders, lead=0 if indexed else round(SHORT_LEAD_S * job.info.fps))
    if attempt.outcome == "late":
        attempt = _attempt(job, out, config, decoders, lead=round(LONG_LEAD_S * job.info.fps))
    if attempt.outcome == "unreliable":
        attempt = _attempt(job, out, config, decoders, lead=None)
    count = len(attempt.ranges.sizes)
    if count < len(job.frames) - job.spare:
        _require_sound(job, decoders)
        # Frames may be absent from a sound video: its recorder dropped them. Not if ffmpeg complained too.
        if count and attempt.complaint:
            missing = f"only {count} of {_wanted(job)} can be decoded ({attempt.complaint})"
            raise ClipError("damaged", f"{job.video}: {missing}.")
    if not count:
        raise ClipError(
            "encode_failed", f"{job.video}: ffmpeg wrote nothing: {attempt.complaint or 'no frames'}"
        )
    return Cropped(path=out, ranges=attempt.ranges)


def crop_sequence(
    job: CropJob, sequence: FrameSequence, out: Path, config: PrepareConfig, decoders: Decoders
) -> Cropped:
    """Write a clip of numbered images to `out`; raises as `crop` does."""
    if job.frames.stop > sequence.count:
        raise ClipError("too_short", f"{job.video}: {sequence.count} frames, not all of {_wanted(job)}.")
    clean, complaint = _run_ffmpeg(job, sequence_arguments(job, sequence, out, config), out, config)
    ranges = (read_jpeg_ranges(out) if clean else None) or JpegRanges((), ())
    if len(ranges.sizes) == len(job.frames):
        return Cropped(path=out, ranges=ranges)
    if damaged := decoders.damaged_frame(sequence, job.frames):
        raise ClipError("damaged", f"{damaged}: the image is damaged. Replace it.")
    raise ClipError("encode_failed", f"{job.video}: ffmpeg wrote no whole clip: {complaint or 'no frames'}")


def _attempt(
    job: CropJob, out: Path, config: PrepareConfig, decoders: Decoders, lead: int | None
) -> _Attempt:
    """Run ffmpeg once, or twice if it met damage that turns out to lie outside the clip."""
    approach = Approach(lead=lead, strict=True)
    clean, complaint = _run_ffmpeg(job, arguments(job, out, config, approach), out, config)
    if not clean:
        _require_sound(job, decoders)
        approach = Approach(lead=lead, strict=False)
        clean, complaint = _run_ffmpeg(job, arguments(job, out, config, approach), out, config)
    ranges = (read_jpeg_ranges(out) if clean else None) or JpegRanges((), ())
    if lead is None:
        return _Attempt("exact", ranges, complaint)
    # Frames are announced before they are encoded, a few more of them than are written.
    announced = _TIME_LINE.findall(_times_file(out).read_bytes())[: len(ranges.sizes)]
    times = [Fraction(int(pts), MICROSECONDS) for pts in announced]
    return _Attempt(judge_times(times, job.frames, job.info), ranges, complaint)


def _run_ffmpeg(job: CropJob, words: list[str], out: Path, config: PrepareConfig) -> tuple[bool, str]:
    """Whether ffmpeg ended well, and its last line of complaint."""
    command = [ffmpeg_binary(), *words]
    for _ in range(ATTEMPTS):
        try:
            status, text = _run_limited(command, out, config)
        except subprocess.TimeoutExpired:
            limit = f"{config.clip_seconds_limit:g} s (clip_seconds_limit)"
            raise ClipError("timed_out", f"{job.video}: the clip took longer than {limit}.") from None
        if status >= 0:
            break
    else:
        raise ClipError("crashed_decoder", f"{job.video}: crashes ffmpeg ({death(status)}). Re-encode it.")
    # Short of a word of complaint ffmpeg fails only where there is no room for that word either.
    if "No space left on device" in text or (status > 0 and not text):
        raise OSError(errno.ENOSPC, "No space left on device", str(out.parent))
    if status and "Cannot allocate memory" in text:
        limit = f"{config.decoder_gb_limit:g} GB (decoder_gb_limit)"
        raise ClipError("crashed_decoder", f"{job.video}: decoding it needs more than {limit}.")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    complaint = _ADDRESS.sub("", lines[-1]) if lines else f"exit status {status}" if status else ""
    return status == 0, complaint


def _run_limited(command: list[str], out: Path, config: PrepareConfig) -> tuple[int, str]:
    """Return code and the end of what ffmpeg complained of; subprocess.TimeoutExpired if it took too long."""
    log = out.with_suffix(".log")
    with (
        log.open("wb") as stderr,
        _times_file(out).open("wb") as stdout,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr) as ffmpeg,
    ):
        limit_process(ffmpeg.pid, memory_gb=config.decoder_gb_limit, seconds=config.clip_seconds_limit)
        try:
            status = ffmpeg.wait(timeout=config.clip_seconds_limit)
        finally:
            ffmpeg.kill()
    return status, log.read_bytes()[-STDERR_TAIL_BYTES:].decode(errors="replace")


def _require_sound(job: CropJob, decoders: Decoders) -> None:
    """Raise ClipError if frames of the clip are damaged or the video ends before the clip does."""
    verdict = decoders.check_span(job.video, job.info.stream_index, window_of(job.frames, job.info))
    first = float(job.info.start_s)
    if verdict.damaged_at_s is not None:
        at = verdict.damaged_at_s - first
        where = "in" if at >= job.frames.start / job.info.fps else "which the decoder needs for"
        raise ClipError("damaged", f"{job.video}: damaged at {at:.2f} s, {where} {_wanted(job)}.")
    if verdict.ended_at_s is not None and _ends_early(job, verdict):
        at = max(0.0, verdict.ended_at_s - first)
        raise ClipError(
            "too_short", f"{job.video}: ends at {at:.2f} s: {verdict.frames} of {_wanted(job)} are there."
        )


def _ends_early(job: CropJob, verdict: SpanVerdict) -> bool:
    """A variable rate has fewer frames in places; then only the time of the last one tells."""
    if job.info.constant_rate:
        return verdict.frames < len(job.frames) - job.spare
    last_needed = window_of(job.frames, job.info).end - Fraction(1 + job.spare) / job.info.fps
    return verdict.ended_at_s is not None and verdict.ended_at_s < last_needed


def _wanted(job: CropJob) -> str:
    return f"frames {job.frames.start} to {job.frames.stop - 1}"


def _times_file(out: Path) -> Path:
    return out.with_suffix(".times")
