"""A folder of numbered images, one a frame: listed, and every header checked, before ffmpeg reads it by pattern."""

import re
from dataclasses import dataclass
from pathlib import Path

import av
from av.video.codeccontext import VideoCodecContext
from PIL import Image

from pipelines.corpus.failures import ClipError
from pipelines.corpus.spans import exact_rate
from pipelines.media.probe import VideoInfo, settle_rate

# FFmpeg's decoder and Pillow's format for each ending.
DECODERS = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg"}
_FORMATS = {"PNG": "png", "JPEG": "mjpeg"}
# FFmpeg conceals damage unless told to explode at it.
ERROR_DETECTION = "crccheck+bitstream+buffer+explode"
MAX_NUMBER = 10**9
_EXIF_ORIENTATION = 0x0112

_NAME = re.compile(r"(.*?)([0-9]+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class FrameSequence:
    """Images PREFIX<number>SUFFIX of one format and size, numbered without a gap."""

    folder: Path
    prefix: str
    digits: int
    """Least digits of a number, zeros leading."""
    suffix: str
    first: int
    """Number of the first frame."""
    count: int
    width: int
    height: int

    @property
    def decoder(self) -> str:
        """FFmpeg's name of the images' decoder."""
        return DECODERS[self.suffix.lower()]

    @property
    def pattern(self) -> str:
        """The path of all images as FFmpeg's image2 demuxer wants it."""
        before = f"{self.folder.absolute()}/{self.prefix}".replace("%", "%%")
        return f"{before}%0{self.digits}d{self.suffix}"

    def path(self, frame: int) -> Path:
        """The image of a frame, counted from 0."""
        return self.folder / f"{self.prefix}{self.first + frame:0{self.digits}d}{self.suffix}"

    def info(self, fps: float) -> VideoInfo:
        """The sequence as a video of `fps` frames a second."""
        rate = exact_rate(fps)
        nominal, _ = settle_rate(rate, None) or (rate, True)
        return VideoInfo(
            width=self.width,
            height=self.height,
            fps=nominal,
            constant_rate=True,
            n_frames=self.count,
            duration_s=float(self.count / nominal),
            start_s=0 * nominal,
            container_start_s=0 * nominal,
            stream_index=0,
            rotation=0,
            has_audio=False,
            codec=self.decoder,
            container="image2",
        )


def list_sequence(folder: Path) -> FrameSequence:
    """List a folder's images and read the first one's header.

    Hidden files and files that are no PNG or JPEG by name are passed over. Raises ClipError with reason
    empty_folder, missing_frames, empty_file, unreadable or too_large.
    """
    images = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in DECODERS and not path.name.startswith(".")
    )
    if not images:
        raise ClipError("empty_folder", f"{folder}: holds no png or jpg images. Give a folder of frames.")
    numbered = sorted((_parse(path), path) for path in images)
    (first, prefix, digits), start = numbered[0]
    for expected, ((number, _, _), path) in enumerate(numbered, first):
        if path.name != f"{prefix}{number:0{digits}d}{start.suffix}":
            raise ClipError(
                "unreadable", f"{path}: is not named as {start.name} is: frames of one clip are. Rename it."
            )
        if number != expected:
            missing = f"{prefix}{expected:0{digits}d}{start.suffix}"
            raise ClipError("missing_frames", f"{folder}: frame {missing} is missing before {path.name}.")
    width, height = _read_header(start)
    return FrameSequence(
        folder=folder,
        prefix=prefix,
        digits=digits,
        suffix=start.suffix,
        first=first,
        count=len(numbered),
        width=width,
        height=height,
    )


def read_sequence(folder: Path) -> FrameSequence:
    """As `list_sequence`, with all headers read; ClipError also with reason mixed_sizes."""
    sequence = list_sequence(folder)
    for path in map(sequence.path, range(sequence.count)):
        size = _read_header(path)
        if size != (sequence.width, sequence.height):
            raise ClipError(
                "mixed_sizes",
                f"{path}: {size[0]}x{size[1]} pixels where the clip's first frame has "
                f"{sequence.width}x{sequence.height}.",
            )
    return sequence


def damaged_frame(sequence: FrameSequence, frames: range) -> Path | None:
    """The first of these frames that cannot be decoded without an error."""
    return next((path for path in map(sequence.path, frames) if not _decodes(path, sequence.decoder)), None)


def _parse(path: Path) -> tuple[int, str, int]:
    """A frame's number, what stands before it, and its digits."""
    match = _NAME.fullmatch(path.stem)
    if match is None or int(match[2][:20]) > MAX_NUMBER or len(match[2]) > 20:
        raise ClipError("unreadable", f"{path}: the name ends in no frame number. Rename or remove it.")
    return int(match[2]), match[1], len(match[2])


def _read_header(path: Path) -> tuple[int, int]:
    """(width, height) of an image that is what its name says."""
    if not path.is_file():
        raise ClipError("unreadable", f"{path}: not a regular file.")
    if path.stat().st_size == 0:
        raise ClipError("empty_file", f"{path}: the file is empty. Replace it.")
    try:
        with Image.open(path, formats=tuple(_FORMATS)) as image:
            decoder, size = _FORMATS.get(image.format or ""), image.size
            # Asked for only where there is one: to look for it, Pillow would decode a whole PNG.
            turned = "exif" in image.info and image.getexif().get(_EXIF_ORIENTATION, 1) != 1
    except Image.DecompressionBombError as error:
        raise ClipError("too_large", f"{path}: {error}") from error
    except Exception as error:  # a reader fed hostile bytes may raise anything
        raise ClipError("unreadable", f"{path}: not a PNG or JPEG image, or a damaged one.") from error
    if decoder != DECODERS[path.suffix.lower()]:
        raise ClipError("unreadable", f"{path}: its content is another format than its name says.")
    if turned:
        raise ClipError("unreadable", f"{path}: is stored turned (EXIF orientation). Save it upright.")
    return size


def _decodes(path: Path, decoder: str) -> bool:
    context = av.CodecContext.create(decoder, "r")
    assert isinstance(context, VideoCodecContext)
    context.options = {"err_detect": ERROR_DETECTION}
    try:
        return bool(context.decode(av.Packet(path.read_bytes())) or context.decode(None))
    except (av.FFmpegError, OSError):
        return False
