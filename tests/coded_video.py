"""Synthetic videos whose every frame shows its own number, so that a test can say which frames it got."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipelines.media.ffmpeg_binary import ffmpeg_binary

WIDTH, HEIGHT = 160, 96
BITS = 10
FPS_25, FPS_2997, FPS_30 = Fraction(25), Fraction(30000, 1001), Fraction(30)

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "40", "-pix_fmt", "yuv420p")
H264_OPEN = (*H264, "-x264-params", "open-gop=1")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=40")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "40")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "3", "-bf", "2", "-g", "40")


def run_ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> None:
    """Run the ffmpeg in use; an error of its fails the test with its message."""
    command = [ffmpeg_binary(), "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def coded_frame(number: int) -> np.ndarray:
    """A frame whose ten columns are the bits of its number, lowest first, black for 0 and white for 1."""
    bits = [235 if number >> bit & 1 else 20 for bit in range(BITS)]
    return np.broadcast_to(np.repeat(np.uint8(bits), WIDTH // BITS)[None, :, None], (HEIGHT, WIDTH, 3))


def read_number(frame: np.ndarray) -> int:
    """The number a frame shows, whatever size the frame was scaled to."""
    centres = (np.arange(BITS) + 0.5) * frame.shape[1] / BITS
    bits = frame[frame.shape[0] // 2, centres.astype(int)].mean(axis=-1) > 128
    return int((bits << np.arange(BITS)).sum())


def write_coded(
    path: Path, frames: int, rate: Fraction, encoder: Sequence[str] = H264, sound: str = ""
) -> Path:
    """Write `frames` coded frames; `sound` names an audio codec for a tone that outlasts the picture."""
    raw = b"".join(coded_frame(number).tobytes() for number in range(frames))
    size = f"{WIDTH}x{HEIGHT}"
    picture = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(rate), "-i", "-")
    tone = ("-f", "lavfi", "-i", f"sine=d={float(frames / rate) + 1}") if sound else ()
    run_ffmpeg(*picture, *tone, *encoder, *(("-c:a", sound) if sound else ()), path, stdin=raw)
    return path


def decode(path: Path) -> tuple[list[np.ndarray], Fraction]:
    """All frames of a video as RGB, and its frame rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], stream.average_rate
