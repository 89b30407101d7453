"""What a clip costs by its place in a two-hour video, what many clips of it cost, and the memory of the workers.

    python -m benchmarks.long_video [--minutes 120] [--frames 200] [--clips 24] [--out FILE]

One minute of 720p video is repeated, copied and not encoded anew, to the length asked for. Measured in one process on
one core: probing and cropping a clip at the video's start, one at its end, `clips` clips spread over its last ten
minutes, and the same frames taken from the minute alone. `end_over_start` and `many_over_short_video` of 1 mean that a
place in a long video costs nothing. Then prepare() makes one clip of ten minutes, and the largest resident memory of
a worker, its decoder process and its ffmpeg is read from /proc while it runs (Linux).
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.corpus import FPS, HEIGHT, WIDTH, machine, run_ffmpeg, write_video
from pipelines.corpus.clip_table import Clip, clip_id
from pipelines.corpus.metadata import Metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.crop import crop, plan_crop
from pipelines.cropping.decoder_process import Decoders
from pipelines.preparation.prepare import prepare

ROUNDS = 3
WORDS = {"worker": "ray::Map", "decoder": "decoder_process", "ffmpeg": "/ffmpeg-"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--frames", type=int, default=200, help="frames a clip")
    parser.add_argument("--clips", type=int, default=24, help="clips in the last ten minutes")
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        report = measure(Path(folder), options)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    write_video(folder / "minute.mp4", 60)
    repeat = ["-stream_loop", str(options.minutes - 1), "-i", str(folder / "minute.mp4")]
    run_ffmpeg(*repeat, "-c", "copy", str(folder / "long.mp4"))
    end = options.minutes * 60 * FPS
    # Whole minutes from the end, so that both clips show the same pictures behind the same key frames.
    last_minute = end - 60 * FPS
    minute = 60 * FPS
    offsets = [
        number // 10 * 2 * options.frames % (minute - options.frames) for number in range(options.clips)
    ]
    spread = [end - (10 - number % 10) * minute + offset for number, offset in enumerate(offsets)]
    start_s = best([clip(0, options.frames)], folder)
    end_s = best([clip(last_minute, options.frames)], folder)
    many_s = best([clip(first, options.frames) for first in spread], folder)
    alone_s = best([clip(offset, options.frames, "minute") for offset in offsets], folder)
    return {
        "video": f"{WIDTH}x{HEIGHT} H.264, {FPS} fps, {options.minutes} minutes",
        "frames_a_clip": options.frames,
        "start_s": round(start_s, 3),
        "end_s": round(end_s, 3),
        "end_over_start": round(end_s / start_s, 3),
        "many_s_a_clip": round(many_s / options.clips, 3),
        "same_frames_of_a_short_video_s_a_clip": round(alone_s / options.clips, 3),
        "many_over_short_video": round(many_s / alone_s, 3),
        **memory(folder),
        "machine": machine(1),
    }


def clip(start: int, frames: int, video: str = "long") -> Clip:
    return Clip(
        clip_id=clip_id(video, start, start + frames), dataset="taichi", video_id=video, video_path=f"{video}.mp4",
        start=start, end=start + frames, fps=float(FPS), left=100, top=50, right=500, bottom=450,
        ref_width=WIDTH, ref_height=HEIGHT, partition="train",
    )  # fmt: skip


def best(clips: list[Clip], folder: Path) -> float:
    """Seconds for probing a video once and cropping its clips one after the other; the best of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with Decoders(PrepareConfig()) as decoders:
            for one in clips:
                video = folder / one.video_path
                job = plan_crop(one, video, decoders.probe(video), PrepareConfig())
                made = crop(job, folder / "clip.mp4", PrepareConfig(), decoders)
                if len(made.ranges.sizes) != one.end - one.start:
                    raise RuntimeError(f"{one.clip_id}: {len(made.ranges.sizes)} frames")
        rounds.append(time.perf_counter() - began)
    return min(rounds)


def memory(folder: Path) -> dict[str, Any]:
    """Largest resident memory in MB by kind of process while a ten-minute clip is prepared."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    peaks = dict.fromkeys(WORDS, 0.0)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for command, megabytes in processes():
                kind = next((kind for kind, word in WORDS.items() if word in command), None)
                # Idle workers hold nothing of ours.
                if kind and "IDLE" not in command:
                    peaks[kind] = max(peaks[kind], megabytes)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    metadata = Metadata(clips=[clip(0, 600 * FPS)], rows=1, duplicates=0, missing_videos=0, sha256="")
    summary = prepare(metadata, PrepareConfig(), folder, folder / "dataset", progress=False)
    over.set()
    watcher.join()
    ray.shutdown()
    if summary.failed:
        raise RuntimeError(summary.report())
    return {f"{kind}_peak_mb": round(megabytes) for kind, megabytes in peaks.items()}


def processes() -> Iterator[tuple[str, float]]:
    """The command line of each process, and its resident memory in MB, memory that it shares with others included."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            pages = int((folder / "statm").read_text().split()[1])
        except (OSError, IndexError):
            continue  # it has ended
        yield command, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
