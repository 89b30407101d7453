"""Raw videos to measure preparation on: motion and noise, about as hard to decode as filmed ones."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.corpus.metadata import Metadata, read_metadata
from pipelines.media.ffmpeg_binary import ffmpeg_binary, ffmpeg_version

WIDTH, HEIGHT, FPS = 1280, 720, 25
ENCODED_S = 20
KEY_FRAMES_S = 10.0
"""As x264 has them at 25 frames a second."""


def write_corpus(
    folder: Path,
    videos: int,
    clips: int,
    frames: int,
    every: int | None = None,
    distinct: int | None = None,
    key_frames_s: float = KEY_FRAMES_S,
) -> tuple[Metadata, Path]:
    """`videos` videos of `clips` clips each: `frames` frames out of every `every` (all if None).

    Only `distinct` of them (all if None) are encoded, which takes long; the others are the same under other names.
    """
    place = folder / "videos"
    place.mkdir()
    every = every or frames
    rows = ["video_id,start,end,bbox,fps,width,height,partition"]
    for video in range(videos):
        path, first = place / f"v{video:04d}.mp4", place / f"v{video % (distinct or videos):04d}.mp4"
        if path == first:
            write_video(path, clips * every / FPS, start_scale=3 - video / videos, key_frames_s=key_frames_s)
        else:
            path.hardlink_to(first)
        for number in range(clips):
            left, top, side = 40 * (number % 12), 10 * (number % 12), 300 + 40 * (number % 3)
            box = f"{left}-{top}-{left + side}-{top + side}"
            start = number * every
            rows.append(f"v{video:04d},{start},{start + frames},{box},{FPS},{WIDTH},{HEIGHT},train")
    path = folder / "metadata.csv"
    path.write_text("\n".join(rows) + "\n")
    return read_metadata(path, "taichi", place), place


def write_video(
    path: Path, seconds: float, start_scale: float = 3.0, key_frames_s: float = KEY_FRAMES_S
) -> None:
    """One video of H.264: a few seconds of a zoom with noise, repeated without encoding them anew."""
    picture = f"mandelbrot=s={WIDTH}x{HEIGHT}:r={FPS}:start_scale={start_scale},noise=alls=6:allf=t"
    # Without B-frames copies join without a gap.
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-crf", "23", "-pix_fmt", "yuv420p"]
    encoder += ["-g", str(round(key_frames_s * FPS))]
    with TemporaryDirectory(dir=path.parent) as folder:
        piece = f"{folder}/piece.mp4"
        run_ffmpeg("-f", "lavfi", "-t", str(min(seconds, ENCODED_S)), "-i", picture, *encoder, piece)
        repeats = ["-stream_loop", str(int(seconds / ENCODED_S))] if seconds > ENCODED_S else []
        run_ffmpeg(*repeats, "-i", piece, "-t", str(seconds), "-c", "copy", str(path))


def run_ffmpeg(*arguments: str) -> None:
    """The ffmpeg that the project uses, quietly."""
    subprocess.run([ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", *arguments], check=True)


def machine(cores: int) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores_used": cores,
        "processor": platform.processor() or platform.machine(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "ray": version("ray"),
        "ffmpeg": ffmpeg_version(),
    }
