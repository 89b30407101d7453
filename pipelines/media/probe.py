"""What a video file holds, read with PyAV: size as displayed, frame rate, length. Local files only.

Shipped inside packaged models too, so it imports only av, the standard library and `pipelines.errors`.
"""

import errno
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.errors import VideoError

# libavformat opens more than videos: playlists (which name other files), slide shows, text as terminal art.
REFUSED_FORMATS = frozenset({"concat", "hls", "dash", "sdp", "rtsp", "imf", "tty", "lavfi", "rawvideo"})
STILL_FORMATS = frozenset({"image2", "image2pipe", "ico"})

# How to open a file of unknown origin: no network, and none of the demuxers that go on to open other files (a list
# of files is opened while it is still being recognised, so refusing its format afterwards would be too late).
SAFE_INPUT = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,mxf,h264,hevc,"
    "yuv4mpegpipe,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,apng,wav,mp3,aac,flac",
}

# A rate measured over a whole file strays from the nominal one by dropped or doubled frames. Nominal rates
# are at least 0.001 of themselves apart (24 and 24000/1001), so half of that tells them from one another.
SAME_RATE = Fraction(4, 10_000)
# Matroska stores a frame's duration in nanoseconds and some muxers in ticks: the rate comes back rounded.
ROUNDED_RATE = Fraction(1, 100_000)
MAX_RATE = 1000
PACKETS_TO_FIRST_FRAME = 256


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """One video file as its first video stream shows it."""

    width: int
    """Pixels across as displayed, that is after the rotation a phone recorded beside the stream."""
    height: int
    """Pixels down as displayed."""
    fps: Fraction
    """Nominal frames a second when the rate is constant, otherwise the mean."""
    constant_rate: bool
    """Whether frame i is shown at i / fps seconds after the first."""
    n_frames: int | None
    """Frames the container states; None where it states none (Matroska, MPEG-TS)."""
    duration_s: float | None
    """Seconds the container states, of video if it can tell; a truncated file states what it once had."""
    start_s: Fraction
    """Timestamp of the first frame shown, in seconds as the container counts."""
    container_start_s: Fraction
    """The container's earliest timestamp; audio may begin before the picture."""
    stream_index: int
    """Which of the container's streams this is: the first that shows a moving picture."""
    rotation: int
    """Degrees the decoder's picture is turned for display: 0, 90, 180 or 270."""
    has_audio: bool
    """Whether there is an audio stream."""
    codec: str
    """FFmpeg's name of the video codec."""
    container: str
    """FFmpeg's name of the container format."""


def probe(path: Path) -> VideoInfo:
    """Read a video's properties and decode its first frame.

    Raises VideoError with reason missing_video, empty_file, unreadable, still_image or no_video_stream.
    """
    check_file(path)
    try:
        with av.open(str(path.absolute()), options=SAFE_INPUT, metadata_errors="replace") as container:
            return _describe(path, container)
    except VideoError:
        raise
    except (av.FFmpegError, ValueError, ArithmeticError) as error:
        # Besides FFmpeg's own complaints: nonsense in headers that Python's fractions or text will not take.
        raise VideoError(
            "unreadable", f"{path}: not a video, or a damaged one ({_plainly(error)}). Replace the file."
        ) from error


def _plainly(error: Exception) -> str:
    """What is wrong: libav says of headers cut short or absurd what it would say of a failing machine."""
    if isinstance(error, MemoryError):
        return "its headers ask for an absurd amount of memory"
    if isinstance(error, EOFError) or getattr(error, "errno", None) == errno.EIO:
        return "it ends within its headers"
    return getattr(error, "strerror", None) or type(error).__name__


def check_file(path: Path) -> None:
    """Refuse what is not there, is a folder, or holds no bytes."""
    if not path.exists():
        raise VideoError("missing_video", f"{path}: no such file. Download it or correct the path.")
    if not path.is_file():
        raise VideoError("unreadable", f"{path}: not a regular file. Give the path of a video.")
    if path.stat().st_size == 0:
        raise VideoError("empty_file", f"{path}: the file is empty. Replace the file.")


def settle_rate(average: Fraction | None, base: Fraction | None) -> tuple[Fraction, bool] | None:
    """The frame rate to count frames by, and whether it is constant; None if the file states none.

    `average` is frames over duration, `base` the rate whose ticks all timestamps fall on. They agree for a
    constant rate (base may be the field rate, twice as high); otherwise only the average means something.
    """
    average = average if average and 0 < average <= MAX_RATE else None
    base = base if base and 0 < base <= 2 * MAX_RATE else None
    if average is None or base is None:
        known = average or base
        return (_nominal(known), average is None) if known else None
    for nominal in (base, base / 2):
        if abs(average - nominal) < SAME_RATE * nominal:
            return _nominal(nominal), True
    return _nominal(average), False


def _nominal(rate: Fraction) -> Fraction:
    """The whole or NTSC (x 1000/1001) rate that `rate` is a rounding of, else `rate` in small integers."""
    for unit in (Fraction(1), Fraction(1000, 1001)):
        nominal = round(rate / unit) * unit
        if abs(rate - nominal) < ROUNDED_RATE * rate:
            return nominal
    return rate.limit_denominator(100_000)


def _describe(path: Path, container: InputContainer) -> VideoInfo:
    format_name = container.format.name
    if format_name in REFUSED_FORMATS:
        raise VideoError("unreadable", f"{path}: a {format_name} file, not a video. Give a video file.")
    if format_name in STILL_FORMATS or format_name.endswith("_pipe"):
        raise VideoError("still_image", f"{path}: a still image, not a video. Give a video file.")
    stream = next(
        (s for s in container.streams.video if s.codec_context is not None and not _is_cover(s)), None
    )
    if stream is None:
        raise VideoError("no_video_stream", f"{path}: holds no video stream. Give a file with a picture.")
    rate = settle_rate(stream.average_rate, stream.base_rate)
    if rate is None:
        raise VideoError("unreadable", f"{path}: states no frame rate; re-encode it with one.")
    frame = _first_frame(path, container, stream)
    turned = frame.rotation % 180 != 0
    return VideoInfo(
        width=frame.height if turned else frame.width,
        height=frame.width if turned else frame.height,
        fps=rate[0],
        constant_rate=rate[1],
        n_frames=stream.frames or None,
        duration_s=_duration(container, stream),
        start_s=_start(container, frame),
        container_start_s=Fraction(container.start_time or 0, av.time_base),
        stream_index=stream.index,
        rotation=frame.rotation % 360,
        has_audio=bool(container.streams.audio),
        codec=stream.codec_context.name,
        container=format_name,
    )


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _first_frame(path: Path, container: InputContainer, stream: VideoStream) -> av.VideoFrame:
    """Decode up to the first frame: a stream may begin in the middle of a group of pictures."""
    stream.codec_context.thread_count = 1
    for count, packet in enumerate(container.demux(stream)):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            frames = []
        if frames:
            return frames[0]
        if count > PACKETS_TO_FIRST_FRAME:
            break
    raise VideoError("unreadable", f"{path}: no frame can be decoded. Replace or re-encode it.")


def _start(container: InputContainer, frame: av.VideoFrame) -> Fraction:
    if frame.pts is None or frame.time_base is None:
        return Fraction(container.start_time or 0, av.time_base)
    return frame.pts * frame.time_base


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base
