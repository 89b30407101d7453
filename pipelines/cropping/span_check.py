"""Second opinion on a clip that ffmpeg did not decode cleanly: are the clip's own frames there and sound?

ffmpeg reads ahead in threads, so whether it meets damage just past a clip's end is a matter of timing; and
after a seek into an open group of pictures it reports frames before the clip as broken. This check decodes
the span in order, in one thread, and so gives the same answer every time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.corpus.failures import ClipError
from pipelines.cropping.selection import Window
from pipelines.media.probe import SAFE_INPUT

# AVI's index points at chunks, which begin with their name and size; a packet begins behind them.
CHUNK_HEADER_BYTES = 8
# Seconds before the window that the first seek aims at, for containers that overshoot.
LEAD_S = 10


@dataclass(frozen=True)
class SpanVerdict:
    """What decoding the window found."""

    frames: int
    """Sound frames inside the window."""
    damaged_at_s: float | None
    """Time of the first damage inside the window, or before it in the frames that the window builds on."""
    ended_at_s: float | None
    """Time of the last sound frame, if the video ended before the window did."""


@dataclass(frozen=True)
class _Piece:
    """A packet on its way into the decoder, or a frame on its way out."""

    at: Fraction | None
    sound: bool
    is_frame: bool
    opens_group: bool = False


def check_span(path: Path, stream_index: int, window: Window) -> SpanVerdict:
    """Decode the frames of `window`; raises ClipError if the file is gone."""
    try:
        from_near = _check(path, stream_index, window, window.begin - LEAD_S)
        return from_near or _check(path, stream_index, window, None) or SpanVerdict(0, None, 0.0)
    except av.FFmpegError as error:
        raise ClipError("unreadable", f"{path}: cannot be read any more ({error.strerror}).") from error


def skipped_frame(path: Path, stream_index: int, begin: Fraction | None, end: Fraction) -> float | None:
    """When the first frame should be shown that an AVI file's index lists, but that reading passes over.

    AVI has no timestamps: behind a hole all frames count as earlier ones. Reads from the seek to `begin` (None: from
    the file's start) up to `end`, in seconds of the container's time. Raises ClipError if the file is gone.
    """
    try:
        with av.open(str(path.absolute()), options=SAFE_INPUT, metadata_errors="replace") as container:
            stream = container.streams[stream_index]
            assert isinstance(stream, VideoStream)
            assert stream.time_base is not None
            listed = {
                entry.pos + CHUNK_HEADER_BYTES: entry.timestamp * stream.time_base
                for entry in stream.index_entries
                if entry.size and entry.timestamp * stream.time_base < end
            }
            if begin is not None and begin > 0:
                container.seek(int(begin / stream.time_base), stream=stream, backward=True)
            return _first_unread(listed, (packet.pos for packet in container.demux(stream)))
    except av.FFmpegError as error:
        raise ClipError("unreadable", f"{path}: cannot be read any more ({error.strerror}).") from error


def _first_unread(listed: dict[int, Fraction], positions: Iterator[int | None]) -> float | None:
    """The time of the first position `listed` that is not among the `positions` from the first of them on."""
    last = max(listed, default=0)
    first, read = None, set()
    for position in positions:
        if position is None or position < 0:
            continue
        first = position if first is None else first
        read.add(position)
        if position >= last:
            break
    return min(
        (float(at) for pos, at in listed.items() if pos >= (first or 0) and pos not in read), default=None
    )


def _check(path: Path, stream_index: int, window: Window, begin: Fraction | None) -> SpanVerdict | None:
    """The verdict when decoding from `begin` (or the start); None if the seek overshot the window's begin."""
    with av.open(str(path.absolute()), options=SAFE_INPUT, metadata_errors="replace") as container:
        stream = container.streams[stream_index]
        assert isinstance(stream, VideoStream)
        stream.codec_context.thread_count = 1
        seeks = begin is not None and begin * av.time_base > (container.start_time or 0)
        if seeks and begin is not None and stream.time_base is not None:
            container.seek(int(begin / stream.time_base), stream=stream, backward=True)
        return _judge(_pieces(container, stream), window, seeks)


def _judge(pieces: Iterator[_Piece], window: Window, seeked: bool) -> SpanVerdict | None:
    frames, damaged, first_key = 0, None, None
    last: Fraction | None = None
    for piece in pieces:
        if piece.at is None:
            continue
        if piece.opens_group and (first_key is None or piece.at <= window.begin):
            if seeked and piece.at > window.begin:
                return None
            # What lies before the last key frame ahead of the window has no bearing on it.
            first_key, damaged = piece.at, None
        if piece.is_frame and piece.at >= window.end:
            return SpanVerdict(frames, None if damaged is None else float(damaged), None)
        # After a seek, frames shown before the key frame refer to what was left out: nothing is wrong.
        if first_key is None or piece.at < first_key or piece.at >= window.end:
            continue
        if not piece.sound:
            damaged = piece.at if damaged is None else damaged
        elif piece.is_frame:
            last = piece.at if last is None else max(last, piece.at)
            frames += piece.at >= window.begin
    if seeked and first_key is None:
        return None
    # Damage with nothing sound behind it is the torn end of a truncated file.
    torn = damaged is not None and (last is None or damaged >= last)
    return SpanVerdict(frames, None if damaged is None or torn else float(damaged), float(last or 0))


def _pieces(container: InputContainer, stream: VideoStream) -> Iterator[_Piece]:
    def at(pts: int | None) -> Fraction | None:
        return None if pts is None or stream.time_base is None else pts * stream.time_base

    try:
        for packet in container.demux(stream):
            when = at(packet.pts if packet.pts is not None else packet.dts)
            yield _Piece(when, not packet.is_corrupt, False, packet.is_keyframe)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                yield _Piece(when, False, False)
                continue
            for frame in frames:
                yield _Piece(at(frame.pts), not frame.is_corrupt, True)
    except av.FFmpegError:
        # The end of the container is missing. What the decoder still holds are good frames.
        for frame in stream.codec_context.decode(None):
            yield _Piece(at(frame.pts), not frame.is_corrupt, True)
