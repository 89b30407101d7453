"""What prepare() costs over the ffmpeg command line that decodes, crops, scales and encodes the same clips.

    python -m benchmarks.prepare_vs_ffmpeg [--clips 200] [--frames 184] [--rounds 1] [--out FILE]

Both sides run in one process on the same cores, in alternating rounds, and the best round of each counts:
other programs can only slow a round down. ffmpeg's side is one plain command a clip, as many at once as there
are cores, each with one thread, writing loose files; prepare's side is all of prepare(), from probing to the
published shards with their tables, under a Ray that was started before, with Ray Data's own processes (that start
is timed apart: `ray_start_s`). Prints JSON; `share` is ffmpeg's time over prepare's: 1 would mean that Ray, checks
and shards cost nothing; `share_with_ray_start` counts the start too. 184 frames is the median test clip of
VoxCeleb. Three videos are encoded; the others are the same under other names. Ray runs its workers at niceness 15,
so ffmpeg's side is run at that, too.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.corpus import FPS, HEIGHT, WIDTH, machine, write_corpus
from benchmarks.warm_ray import start_ray, stop_ray
from pipelines.corpus.clip_table import Clip
from pipelines.corpus.metadata import Metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.ffmpeg_command import SCALE_FLAGS
from pipelines.media.ffmpeg_binary import ffmpeg_binary
from pipelines.preparation.prepare import prepare

CLIPS_A_VIDEO = 8
NICE = ("nice", "-n", "15")  # as Ray runs its workers
CONFIG = PrepareConfig()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--frames", type=int, default=184, help="frames a clip")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder), options.clips, options.frames, options.rounds, options.cores)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def measure(folder: Path, clips: int, frames: int, rounds: int, cores: int) -> dict[str, Any]:
    metadata, videos = write_corpus(folder, -(-clips // CLIPS_A_VIDEO), CLIPS_A_VIDEO, frames, distinct=3)
    ray_start = start_ray(cores)
    ffmpeg_seconds, prepare_seconds = [], []
    for number in range(rounds):
        os.sync()
        ffmpeg_seconds.append(by_ffmpeg(metadata, videos, folder / f"loose-{number}", cores))
        os.sync()  # what one side left to be written is not the other's work
        prepare_seconds.append(by_prepare(metadata, videos, folder / f"dataset-{number}"))
    stop_ray()
    return {
        "clips": len(metadata.clips),
        "frames": len(metadata.clips) * frames,
        "video": f"{WIDTH}x{HEIGHT} H.264, {FPS} fps",
        "ffmpeg_s": [round(seconds, 2) for seconds in ffmpeg_seconds],
        "prepare_s": [round(seconds, 2) for seconds in prepare_seconds],
        "ffmpeg_frames_per_s": round(len(metadata.clips) * frames / min(ffmpeg_seconds), 1),
        "prepare_frames_per_s": round(len(metadata.clips) * frames / min(prepare_seconds), 1),
        "share": round(min(ffmpeg_seconds) / min(prepare_seconds), 3),
        "share_with_ray_start": round(min(ffmpeg_seconds) / (min(prepare_seconds) + ray_start), 3),
        "ray_start_s": round(ray_start, 2),
        "machine": machine(cores),
    }


def by_ffmpeg(metadata: Metadata, videos: Path, out: Path, cores: int) -> float:
    out.mkdir()

    def cut(clip: Clip) -> None:
        crop = f"crop={clip.right - clip.left}:{clip.bottom - clip.top}:{clip.left}:{clip.top}"
        scale = f"scale={CONFIG.size}:{CONFIG.size}:flags={SCALE_FLAGS}:out_range=pc:out_color_matrix=bt601"
        seek = ["-ss", str(max(0.0, (clip.start - 0.5) / FPS)), "-t", str((clip.end - clip.start) / FPS)]
        source = ["-threads", "1", *seek, "-i", str(videos / clip.video_path), "-an"]
        encoder = ["-c:v", "mjpeg", "-q:v", str(CONFIG.jpeg_q), "-threads", "1"]
        filters = f"{crop},{scale},format=yuvj420p"
        target = str(out / f"{clip.clip_id}.mp4")
        command = [*NICE, ffmpeg_binary(), "-v", "error", "-nostdin", "-y", "-filter_threads", "1"]
        subprocess.run([*command, *source, "-vf", filters, *encoder, target], check=True)

    began = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(cut, metadata.clips))
    return time.perf_counter() - began


def by_prepare(metadata: Metadata, videos: Path, out: Path) -> float:
    began = time.perf_counter()
    summary = prepare(metadata, CONFIG, videos, out, progress=False)
    seconds = time.perf_counter() - began
    if summary.written != len(metadata.clips):
        raise RuntimeError(summary.report())
    return seconds


if __name__ == "__main__":
    main()
