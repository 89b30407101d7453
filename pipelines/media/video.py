"""Videos in and out, frame by frame: any common format to uint8 RGB, and H.264 in mp4.

Takes local files, or the bytes of one.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from pipelines.errors import InputError, VideoError
from pipelines.media.images import (
    Fit,
    RgbImage,
    centre_square,
    check_pixels,
    fitted_size,
    is_still_image,
    source_name,
)
from pipelines.media.probe import MAX_RATE, SAFE_INPUT, VideoInfo, probe
from pipelines.media.soundtrack import DEMUX_ERRORS, Soundtrack, audio_stream
from pipelines.storage.atomic import atomic_path

# H, W height and width in pixels; 3: red, green, blue
VideoSource = Path | str | bytes

MAX_DECODE_S = 3600.0
"""Seconds that decoding one video may take, not counting what the caller does between frames."""
CRF = 18
"""x264's constant quality: losses that are hard to see."""

# swscale's defaults trade exactness for speed and are off by up to 3 levels.
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# ITU-T H.273 code points, one meaning in colour primaries, transfer curve and matrix alike.
_BT709 = 1


@dataclass(frozen=True)
class TimedFrame:
    """One frame of a video, shrunk, with what is needed to find its place and its pixels in the file."""

    image: RgbImage
    """uint8 RGB (H,W,3)."""
    time_s: Fraction | None
    """When it is shown, in seconds of the container's time; None where the container does not say."""
    size: tuple[int, int]
    """Width and height in pixels of the frame as the video shows it."""


def read_info(source: VideoSource) -> VideoInfo:
    """Size, frame rate and length of a video file, or of the bytes of one; raises as `probe` does."""
    with _local_file(source) as path:
        return _probed(path, source_name(source))


def decode_frames(
    source: VideoSource, size: int | None = None, fit: Fit = "crop", limit: int | None = None
) -> Iterator[RgbImage]:
    """Every stored frame in display order, or the first `limit`: uint8 RGB (H,W,3) or (size,size,3).

    Recorded rotation and oblong pixels are corrected. `fit` is that of `read_image`. Frames are neither
    doubled nor dropped where the frame rate varies. Without `size` all frames get the size of the first.

    Raises VideoError, on the first frame asked for, with reason missing_video, empty_file, unreadable,
    still_image, no_video_stream or too_large. An mp4 that breaks off raises "unreadable" after the frames
    before the break; containers that are written as a stream (Matroska, MPEG-TS) just end there. Raises
    "timed_out" when decoding, without what the caller does between frames, takes longer than MAX_DECODE_S.
    """
    name = source_name(source)
    scaled: tuple[int, int] | None = None
    with _local_file(source) as path:
        info = _probed(path, name)
        check_pixels(info.width, info.height, name)
        for frame, pixel_aspect in _decoded(path, name, info.stream_index, limit):
            if scaled is None or size is not None:
                scaled = _scaled_size(frame, pixel_aspect, size, fit, name)
            rgb = _upright(frame, scaled)
            yield np.ascontiguousarray(rgb if size is None else centre_square(rgb, size))


def decode_timed(path: Path, longer_side: int) -> Iterator[TimedFrame]:
    """Every stored frame in display order with its time, its longer side shrunk to at most `longer_side` pixels.

    Uses one thread. Otherwise as `decode_frames`, with the same errors, and "unreadable" where frames begin to be
    turned another way: their places and the first ones' would not be the same.
    """
    name = source_name(path)
    info = _probed(path, name)
    check_pixels(info.width, info.height, name)
    scaled: tuple[int, int] | None = None
    decoded = _decoded(path, name, info.stream_index, limit=None, threads=1)
    for number, (frame, pixel_aspect) in enumerate(decoded):
        if scaled is None:
            full = _scaled_size(frame, pixel_aspect, None, "crop", name)
            shrink = min(1.0, longer_side / max(full))
            scaled = max(1, round(full[0] * shrink)), max(1, round(full[1] * shrink))
            turned = round(frame.rotation / 90) % 4
            shown = full if turned % 2 == 0 else full[::-1]
        if round(frame.rotation / 90) % 4 != turned:
            raise VideoError(
                "unreadable", f"{name}: is turned another way from frame {number} on. Re-encode it."
            )
        yield TimedFrame(np.ascontiguousarray(_upright(frame, scaled)), _time_of(frame), shown)


def write_video(
    path: Path, frames: Iterable[RgbImage], fps: Fraction | int, audio_from: VideoSource | None = None
) -> int:
    """Write uint8 RGB frames (H,W,3) of one size as an mp4 (H.264, yuv420p) and return how many there were.

    `fps` is kept exactly. Odd widths and heights are made even by repeating the last column or row. The
    first audio stream of the video `audio_from`, if it has one, is cut to the length of the picture; it is
    copied if it is AAC, MP3 or AC-3, and becomes AAC otherwise. The file appears whole or not at all, also
    when `frames` raises. Raises InputError when there are no frames, VideoError for a bad `audio_from`.
    """
    with atomic_path(Path(path)) as partial:
        return _encode(partial, iter(frames), fps, audio_from)


def encode_video(
    frames: Iterable[RgbImage], fps: Fraction | int, audio_from: VideoSource | None = None
) -> bytes:
    """The bytes of the file that `write_video` would write."""
    # mp4 with its index in front is written in two passes over the file, so memory alone does not do.
    with tempfile.TemporaryDirectory(prefix="video-") as folder:
        path = Path(folder) / "video.mp4"
        _encode(path, iter(frames), fps, audio_from)
        return path.read_bytes()


@contextmanager
def _local_file(source: VideoSource) -> Iterator[Path]:
    if not isinstance(source, bytes):
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="video-") as folder:
        path = Path(folder) / "input"
        path.write_bytes(source)
        yield path


def _probed(path: Path, name: str) -> VideoInfo:
    # Asked first because FFmpeg calls a one-frame GIF or AVIF a video.
    if path.is_file() and is_still_image(path):
        raise VideoError("still_image", f"{name}: is a still image; a driving video is needed.")
    try:
        return probe(path)
    except VideoError as error:
        raise VideoError(error.reason, str(error).replace(str(path), name)) from error


def _upright(frame: av.VideoFrame, scaled: tuple[int, int]) -> RgbImage:
    stored = frame.reformat(*scaled, format="rgb24", interpolation=_EXACT).to_ndarray()
    return np.rot90(np.asarray(stored, dtype=np.uint8), round(frame.rotation / 90))


def _time_of(frame: av.VideoFrame) -> Fraction | None:
    return None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def _open_input(path: Path) -> InputContainer:
    return av.open(str(path.absolute()), options=SAFE_INPUT, metadata_errors="replace")


def _decoded(
    path: Path, name: str, stream_index: int, limit: int | None, threads: int = 0
) -> Iterator[tuple[av.VideoFrame, Fraction]]:
    """Decoded frames, each with the width of a pixel over its height; 0 threads are as many as there are cores."""
    reached, whole, spent_s = 0, True, 0.0
    with _open_input(path) as container:
        stream = container.streams[stream_index]
        assert isinstance(stream, VideoStream)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        packets = container.demux(stream)
        while limit is None or reached < limit:
            started = time.monotonic()
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet else []
            except DEMUX_ERRORS as error:
                if reached:
                    raise _broken(name, reached) from error
                continue  # a stream may begin in the middle of a group of pictures
            if packet is None:
                break
            if packet.size:  # the last one, without data, only flushes the decoder
                whole = not packet.is_corrupt
            spent_s += time.monotonic() - started
            if spent_s > MAX_DECODE_S:
                raise VideoError(
                    "timed_out", f"{name}: decoding {reached} frames took {spent_s:.0f} s. Cut it."
                )
            for frame in frames[: None if limit is None else limit - reached]:
                reached += 1
                yield frame, stream.sample_aspect_ratio or Fraction(1)
    if limit is None or reached < limit:
        if reached == 0:
            raise VideoError("unreadable", f"{name}: no frame can be decoded. Re-encode it.")
        # With several threads the decoder drops the last, halved frame without an error.
        if not whole:
            raise _broken(name, reached)


def _broken(name: str, reached: int) -> VideoError:
    return VideoError(
        "unreadable",
        f"{name}: damaged or cut off after frame {reached}. Replace the file, or cut it to its first "
        f"{reached} frames.",
    )


def _scaled_size(
    frame: av.VideoFrame, pixel_aspect: Fraction, size: int | None, fit: Fit, name: str
) -> tuple[int, int]:
    """The (width, height) to scale a frame to, before it is turned and its centre cut out."""
    width = float(frame.width * max(pixel_aspect, Fraction(1)))
    height = float(frame.height / min(pixel_aspect, Fraction(1)))
    scaled = (round(width), round(height)) if size is None else fitted_size(width, height, size, fit, name)
    check_pixels(*scaled, name)
    return scaled


def _encode(
    path: Path, frames: Iterator[RgbImage], fps: Fraction | int, audio_from: VideoSource | None
) -> int:
    rate = Fraction(fps)
    if not 0 < rate <= MAX_RATE:
        raise ValueError(f"fps must be above 0 and at most {MAX_RATE}, got {fps}")
    first = next(frames, None)
    if first is None:
        raise InputError("There are no frames to write a video of.")
    count = 0
    with ExitStack() as stack:
        sound = None if audio_from is None else stack.enter_context(_sound_of(audio_from))
        output = stack.enter_context(
            av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
        )
        picture = _add_picture(output, rate, first)
        soundtrack = _add_sound(output, sound, source_name(audio_from)) if sound and audio_from else None
        for count, frame in enumerate(chain([first], frames), start=1):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise ValueError(f"frame {count} is {frame.dtype}{frame.shape}, the first uint8{first.shape}")
            output.mux(picture.encode(_to_yuv(frame, count - 1)))
            if soundtrack:
                soundtrack.write_until(count / rate)
        output.mux(picture.encode(None))
    return count


def _add_sound(output: OutputContainer, sound: InputContainer, name: str) -> Soundtrack:
    """Add the soundtrack after the picture and begin the file, which refuses what an mp4 cannot hold."""
    try:
        soundtrack = Soundtrack(sound, output, name)
        output.start_encoding()
    except av.FFmpegError as error:
        raise VideoError(
            "unreadable", f"{name}: its sound does not fit an mp4 ({error.strerror}). Leave the sound out."
        ) from error
    return soundtrack


@contextmanager
def _sound_of(source: VideoSource) -> Iterator[InputContainer | None]:
    """The opened video, or None if it is silent."""
    with _local_file(source) as path:
        _probed(path, source_name(source))
        with _open_input(path) as container:
            yield container if audio_stream(container) else None


def _add_picture(output: OutputContainer, rate: Fraction, first_HW3: RgbImage) -> VideoStream:
    stream = output.add_stream("libx264", rate=rate, options={"crf": str(CRF)})
    height, width = first_HW3.shape[:2]
    stream.width, stream.height = width + width % 2, height + height % 2
    stream.pix_fmt = "yuv420p"
    codec = stream.codec_context
    codec.color_range = ColorRange.MPEG
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
    return stream


def _to_yuv(image_HW3: RgbImage, number: int) -> av.VideoFrame:
    height, width = image_HW3.shape[:2]
    if height % 2 or width % 2:  # yuv420p shares colour between two by two pixels
        image_HW3 = np.pad(image_HW3, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HW3), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=_EXACT,
    )
    frame.pts = number
    return frame
