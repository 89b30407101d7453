"""One clip: carry span and box over to the file, let ffmpeg write it, check what came out.

Every clip's frames are verified by timestamp (`selection`), so a container whose seek overshoots costs further
attempts rather than wrong frames; damage that shows is never passed over in silence: what ffmpeg or libav complains
of, frames that are missing, and in AVI frames that the index lists and reading does not meet. Damage that none of
these shows cannot be told from a picture: bytes that still decode without a complaint, a hole in an AVI file that
lost its index too, and one frame (`spare_frames`) missing without a word.
"""

import errno
import math
import re
import subprocess
import time
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

from pipelines.corpus.clip_table import Clip
from pipelines.corpus.failures import ClipError
from pipelines.corpus.frame_sequence import FrameSequence
from pipelines.corpus.spans import clip_box, native_frames, scale_box, spare_frames
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.decoder_process import Decoders
from pipelines.cropping.ffmpeg_command import MICROSECONDS, Approach, CropJob, arguments, sequence_arguments
from pipelines.cropping.ffmpeg_process import require_room, run_limited
from pipelines.cropping.jpeg_ranges import JpegRanges, read_jpeg_ranges
from pipelines.cropping.process_limits import ATTEMPTS, death
from pipelines.cropping.selection import Outcome, judge_times, window_of
from pipelines.cropping.span_check import SpanVerdict
from pipelines.media.ffmpeg_binary import ffmpeg_binary
from pipelines.media.probe import VideoInfo

# Containers with an index of key frames: a seek lands where it aims, except behind an open group of pictures.
INDEXED = ("mov", "matroska")
SHORT_LEAD_S, LONG_LEAD_S = 2, 10

_TIME_LINE = re.compile(rb"frame:\d+\s+pts:(-?\d+)")
# What only writing can end with; reading a file may fail in every other way.
_NO_ROOM = {"No space left on device": errno.ENOSPC, "Disk quota exceeded": errno.EDQUOT}
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
class _Work:
    """One clip on its way."""

    job: CropJob
    out: Path
    config: PrepareConfig
    decoders: Decoders
    deadline: float
    """When it is given up, on the clock of `time.monotonic`."""

    def seconds_left(self) -> float:
        """Raises ClipError if there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.timed_out()
        return left

    def timed_out(self) -> ClipError:
        limit = f"{self.config.clip_seconds_limit:g} s (clip_seconds_limit)"
        return ClipError("timed_out", f"{self.job.video}: the clip took longer than {limit}.")


@dataclass(frozen=True)
class _Attempt:
    lead: int | None
    """As in `Approach`."""
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
    reference = (clip.ref_width, clip.ref_height)
    box = clip_box(scale_box(clip.box, reference, size), size)
    if box is None:
        stated = f"{video}: box {clip.left}-{clip.top}-{clip.right}-{clip.bottom}"
        if clip_box(clip.box, reference) is None:
            raise ClipError(
                "box_outside_frame", f"{stated} lies outside the {clip.ref_width}x{clip.ref_height} frame."
            )
        raise ClipError(
            "box_too_small",
            f"{stated} of a {clip.ref_width}x{clip.ref_height} frame covers no whole pixel of the video's "
            f"{info.width}x{info.height}.",
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
    work = _Work(job, out, config, decoders, time.monotonic() + config.clip_seconds_limit)
    attempt = _best_attempt(work)
    count = len(attempt.ranges.sizes)
    short = count < len(job.frames) - job.spare
    if short or (attempt.outcome != "exact" and attempt.complaint):
        verdict = _require_sound(work)
        # Frames may be absent from a sound video: its recorder dropped them, or it ends one early. Not if ffmpeg
        # complained too, but for what it says of frames before the clip.
        if count and attempt.complaint and (short or verdict.ended_at_s is None):
            missing = f"only {count} of {_wanted(job)} can be decoded ({attempt.complaint})"
            raise ClipError("damaged", f"{job.video}: {missing}.")
        if verdict.frames > count:
            lost = f"ffmpeg wrote {count} of {verdict.frames} sound frames"
            raise ClipError("encode_failed", f"{job.video}: {lost} ({attempt.complaint or 'no complaint'}).")
    if not count:
        raise ClipError(
            "encode_failed", f"{job.video}: ffmpeg wrote nothing: {attempt.complaint or 'no frames'}"
        )
    if job.info.container == "avi":
        _require_all_listed(work, attempt.lead)
    return Cropped(path=out, ranges=attempt.ranges)


def crop_sequence(
    job: CropJob, sequence: FrameSequence, out: Path, config: PrepareConfig, decoders: Decoders
) -> Cropped:
    """Write a clip of numbered images to `out`; raises as `crop` does."""
    if job.frames.stop > sequence.count:
        raise ClipError("too_short", f"{job.video}: {sequence.count} frames, not all of {_wanted(job)}.")
    work = _Work(job, out, config, decoders, time.monotonic() + config.clip_seconds_limit)
    clean, complaint = _run_ffmpeg(work, sequence_arguments(job, sequence, out, config))
    ranges = (read_jpeg_ranges(out) if clean else None) or JpegRanges((), ())
    if len(ranges.sizes) == len(job.frames):
        return Cropped(path=out, ranges=ranges)
    if damaged := decoders.damaged_frame(sequence, job.frames, work.seconds_left()):
        raise ClipError("damaged", f"{damaged}: the image is damaged. Replace it.")
    raise ClipError("encode_failed", f"{job.video}: ffmpeg wrote no whole clip: {complaint or 'no frames'}")


def _best_attempt(work: _Work) -> _Attempt:
    """From further and further ahead of the clip, until its first frame comes in time."""
    job = work.job
    indexed = job.info.container.split(",")[0] in INDEXED
    attempt = _attempt(work, lead=0 if indexed else round(SHORT_LEAD_S * job.info.fps))
    if attempt.outcome == "late":
        attempt = _attempt(work, lead=round(LONG_LEAD_S * job.info.fps))
    # Where the clip's first frames are not there at all, nothing is gained from the file's start.
    if attempt.outcome == "late" and _require_sound(work).frames > len(attempt.ranges.sizes):
        attempt = _attempt(work, lead=_whole_lead(job))
    if attempt.outcome == "unreliable":
        attempt = _attempt(work, lead=None)
    return attempt


def _whole_lead(job: CropJob) -> int:
    """The frames from the file's start to the clip."""
    ahead = window_of(job.frames, job.info).begin - job.info.container_start_s
    return max(0, math.ceil(ahead * job.info.fps))


def _attempt(work: _Work, lead: int | None) -> _Attempt:
    """Run ffmpeg once, or twice if it met damage that turns out to lie outside the clip."""
    job, out, config = work.job, work.out, work.config
    clean, complaint = _run_ffmpeg(work, arguments(job, out, config, Approach(lead=lead, strict=True)))
    if not clean:
        _require_sound(work)
        clean, complaint = _run_ffmpeg(work, arguments(job, out, config, Approach(lead=lead, strict=False)))
    ranges = (read_jpeg_ranges(out) if clean else None) or JpegRanges((), ())
    if lead is None:
        return _Attempt(lead, "exact", ranges, complaint)
    times = _announced_times(out, len(ranges.sizes))
    return _Attempt(lead, judge_times(times, job.frames, job.info), ranges, complaint)


def _announced_times(out: Path, count: int) -> list[Fraction]:
    """Frames are announced before they are encoded, a few more of them than are written."""
    with _times_file(out).open("rb") as lines:
        announced = islice(filter(None, map(_TIME_LINE.match, lines)), count)
        return [Fraction(int(line[1]), MICROSECONDS) for line in announced]


def _run_ffmpeg(work: _Work, words: list[str]) -> tuple[bool, str]:
    """Whether ffmpeg ended well, and its last line of complaint."""
    video, config = work.job.video, work.config
    for _ in range(ATTEMPTS):
        try:
            status, text = run_limited(
                [ffmpeg_binary(), *words],
                _times_file(work.out),
                memory_gb=config.decoder_gb_limit,
                seconds=work.seconds_left(),
            )
        except subprocess.TimeoutExpired:
            raise work.timed_out() from None
        if status >= 0:
            break
    else:
        raise ClipError("crashed_decoder", f"{video}: crashes ffmpeg ({death(status)}). Re-encode it.")
    if status:
        _refuse_machines_fault(text, work.out.parent)
    if status and "Cannot allocate memory" in text:
        limit = f"{config.decoder_gb_limit:g} GB (decoder_gb_limit)"
        raise ClipError("crashed_decoder", f"{video}: decoding it needs more than {limit}.")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    complaint = _ADDRESS.sub("", lines[-1]) if lines else f"exit status {status}" if status else ""
    return status == 0, complaint


def _refuse_machines_fault(text: str, folder: Path) -> None:
    """Raise OSError if ffmpeg, which said `text`, failed for want of a disk to write to."""
    for words, number in _NO_ROOM.items():
        if words in text:
            raise OSError(number, words, str(folder))
    require_room(folder)


def _require_sound(work: _Work) -> SpanVerdict:
    """Raise ClipError if frames of the clip are damaged or the video ends before the clip does."""
    job = work.job
    window = window_of(job.frames, job.info)
    verdict = work.decoders.check_span(job.video, job.info.stream_index, window, work.seconds_left())
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
    return verdict


def _require_all_listed(work: _Work, lead: int | None) -> None:
    """Raise ClipError if the index lists a frame, of the clip or shortly before it, that was not met in the file."""
    job = work.job
    window = window_of(job.frames, job.info)
    begin = None if lead is None else window.begin - lead / job.info.fps
    at = work.decoders.skipped_frame(job.video, job.info.stream_index, begin, window.end, work.seconds_left())
    if at is not None:
        where = f"damaged at {at:.2f} s, in or before {_wanted(job)}"
        raise ClipError("damaged", f"{job.video}: {where}: a frame that its index lists is not there.")


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
