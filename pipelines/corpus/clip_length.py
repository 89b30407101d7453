"""How many frames a whole video file shows, so that a span can name all of them. Nothing is decoded but the first.

A torn file counts as long as it once was: its missing frames are for `prepare` to find, and to fail the clip for.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.errors import VideoError
from pipelines.media.probe import SAFE_INPUT, VideoInfo, probe

# A stated duration is rounded, and may count the last frame's display.
_ROUNDING_FRAMES = 2
_DURATION = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)", re.ASCII)


@dataclass(frozen=True)
class WholeClip:
    """One video file, from its first frame to its last."""

    info: VideoInfo
    frames: int
    """One past the last frame, counted at the file's rate."""


@dataclass(frozen=True)
class _Packets:
    shown: int
    """Packets of frames that are shown."""
    last_s: Fraction | None
    """Latest timestamp of them, in seconds of the container's time."""
    indexed: int
    """Frames that the container's index lists; an index may list key frames only, or nothing."""
    stated_s: Fraction | None
    """Length of the picture that Matroska's muxers note beside it."""


def measure(path: Path) -> WholeClip:
    """Read a video's properties and find its end. Raises VideoError as `probe` does."""
    info = probe(path)
    try:
        with av.open(str(path.absolute()), options=SAFE_INPUT, metadata_errors="replace") as container:
            packets = _read_packets(container, info.stream_index)
    except av.FFmpegError as error:
        raise VideoError("unreadable", f"{path}: cannot be read any more ({error.strerror}).") from error
    stated = _stated_end(info, packets)
    # No frame takes less than a byte: what the file could not hold was never in it.
    return WholeClip(info, max(_end(info, packets), stated if stated <= path.stat().st_size else 0))


def _end(info: VideoInfo, packets: _Packets) -> int:
    """By time rather than by count: a variable rate has fewer frames than ticks, VP8 has packets never shown."""
    if packets.last_s is None:
        return max(packets.shown, 1)
    return max(math.floor((packets.last_s - info.start_s) * info.fps + Fraction(1, 2)) + 1, 1)


def _stated_end(info: VideoInfo, packets: _Packets) -> int:
    """The frames that the container promises, if they are more than it holds; else 0."""
    if packets.indexed > packets.shown:
        return packets.indexed
    if info.container == "avi" and info.n_frames and info.n_frames > packets.shown:
        return info.n_frames
    stated = math.floor((packets.stated_s or 0) * info.fps)
    return stated if stated > _end(info, packets) + _ROUNDING_FRAMES else 0


def _read_packets(container: InputContainer, stream_index: int) -> _Packets:
    stream = container.streams[stream_index]
    assert isinstance(stream, VideoStream)
    indexed = sum(not entry.is_discard for entry in stream.index_entries)
    stated = _tagged_duration(stream.metadata.get("DURATION", ""))
    shown, last = 0, None
    try:
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            shown += 1
            at = packet.pts if packet.pts is not None else packet.dts
            last = at if last is None or (at is not None and at > last) else last
    except av.FFmpegError:
        pass  # the rest of the file is missing: what it promised is in the index
    base = stream.time_base
    return _Packets(shown, None if last is None or base is None else last * base, indexed, stated)


def _tagged_duration(tag: str) -> Fraction | None:
    """Seconds of HH:MM:SS.fraction; None for anything else."""
    match = _DURATION.fullmatch(tag)
    return Fraction(match[3]) + 60 * int(match[2]) + 3600 * int(match[1]) if match else None
