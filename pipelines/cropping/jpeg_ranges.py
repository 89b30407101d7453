"""Where each frame's JPEG lies in a motion-JPEG mp4, so that any one can be read without parsing the file."""

from dataclasses import dataclass
from pathlib import Path

import av

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True)
class JpegRanges:
    """Byte positions of whole JPEGs, in display order."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


def read_jpeg_ranges(path: Path) -> JpegRanges | None:
    """The frames of a motion-JPEG file, or None if it is no complete one."""
    try:
        with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
            # Not the packets themselves: they hold the frames of a clip that may be long.
            ranges = [
                (packet.pos, packet.size)
                for packet in container.demux(video=0)
                if packet.size and packet.pos is not None
            ]
    except (av.FFmpegError, IndexError):
        return None
    with path.open("rb") as file:
        for offset, size in ranges:
            file.seek(offset)
            jpeg = file.read(size)
            if not (jpeg.startswith(JPEG_START) and jpeg.endswith(JPEG_END)):
                return None
    return JpegRanges(tuple(offset for offset, _ in ranges), tuple(size for _, size in ranges))
