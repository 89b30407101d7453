"""Does an evaluation's memory grow with the clips? Resident memory of driver and actors while 525 clips are scored.

    python -m benchmarks.evaluation_memory [--clips 525] [--frames 24] [--size 64] [--workers 2] [--out FILE]

525 clips are VoxCeleb's test set; its median clip has 184 frames, which `--frames 184` gives. The clips are pieces of
one drawn video, the model is a small untrained one: what is held in memory is the same as with others of that size,
only sooner. The evaluation runs in this process, as in `lia evaluate`, and each actor in one of Ray's. Four times a
second their memory is read from /proc. Prints JSON. For the first clip, the 50th, the 250th and the last (before Ray
is shut down):

    most        most resident memory up to then, pages of shared memory and of mapped files included, in MB
    anonymous   what a process holds for itself alone at that moment, in MB; what leaks grows here

For actors it is the largest among them; `ray` is the sum over Ray's other processes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.corpus import machine, run_ffmpeg
from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.weights import save_generator
from orchestration.evaluation.evaluate import evaluate
from orchestration.evaluation.metrics import GROUPS
from orchestration.evaluation.unfinished import NAME as UNFINISHED
from pipelines.storage.location import parse_location

SIDE, FPS = 128, 25
"""Of the video."""
STRIDE = 2
"""Frames between the beginnings of two clips, which overlap."""
MILESTONES = (1, 50, 250)
SAMPLE_SECONDS = 0.25
ACTOR = b"ClipScorer"
"""In the title that Ray gives an actor's process."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=525)
    parser.add_argument("--frames", type=int, default=24, help="frames a clip")
    parser.add_argument("--size", type=int, default=64, help="side of the frames in pixels")
    parser.add_argument("--workers", type=int, default=2, help="actors")
    parser.add_argument("--measure", nargs="+", choices=GROUPS, default=["pixels"])
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder), options)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    model = LiaConfig(image_size=options.size, style_dim=64, motion_dim=5, width=0.1)
    save_generator(folder / "model", Generator(model))
    prepare_clips(folder, options.clips, options.frames, options.size)
    milestones = sorted({number for number in MILESTONES if number < options.clips})
    memory = MemoryByClip(folder / "eval" / UNFINISHED, options.clips, milestones)
    before = memory_mb(os.getpid())
    began = time.perf_counter()
    with memory:
        found = evaluate(
            str(folder / "model"),
            parse_location(str(folder / "dataset")),
            out=folder / "eval",
            measure=options.measure,
            workers=options.workers,
        )
    seconds = time.perf_counter() - began
    return {
        "benchmark": "evaluation_memory",
        "clips": len(found.clips),
        "frames": sum(clip.n_frames for clip in found.clips),
        "size": options.size,
        "measured": options.measure,
        "actors": options.workers,
        "seconds_with_rays_start": round(seconds, 1),
        "clips_a_second": memory.clips_a_second,
        "driver_before": before,
        "after_clips": memory.by_clip | {"last": memory.latest},
        "machine": machine(options.workers) | {"torch": torch.__version__},
    }


def prepare_clips(folder: Path, clips: int, frames: int, size: int) -> None:
    """A dataset of test clips in `folder`/dataset, by a process of its own: it must leave nothing in this one."""
    videos = folder / "videos"
    videos.mkdir()
    picture = f"mandelbrot=s={SIDE}x{SIDE}:r={FPS}"
    seconds = (clips * STRIDE + frames) / FPS
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", str(FPS)]
    run_ffmpeg("-f", "lavfi", "-t", str(seconds), "-i", picture, *encoder, str(videos / "v.mp4"))
    rows = ["person_id,video_id,start,end,bbox,fps,width,height,partition"]
    for start in range(0, clips * STRIDE, STRIDE):
        rows.append(f"id0,v,{start},{start + frames},0-0-{SIDE}-{SIDE},{FPS},{SIDE},{SIDE},test")
    metadata = folder / "metadata.csv"
    metadata.write_text("\n".join(rows) + "\n")
    command = [sys.executable, "-m", "orchestration.cli", "prepare", "--dataset", "vox"]
    command += ["--metadata", str(metadata), "--videos", str(videos), "--out", str(folder / "dataset")]
    subprocess.run([*command, "--prepare.size", str(size)], check=True, stdout=sys.stderr)


class MemoryByClip:
    """Inside the block a thread notes the memory of this process and of those below it, by clips scored."""

    def __init__(self, scores: Path, clips: int, milestones: list[int]) -> None:
        """`scores` is where the evaluation writes a line a clip, below one that says what it is of."""
        self.by_clip: dict[str, dict[str, Any]] = {}
        self.latest: dict[str, Any] = {}
        self._scores, self._clips, self._milestones = scores, clips, milestones
        self._read, self._done = 0, -1
        self._first = self._last = (0, 0.0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def clips_a_second(self) -> float:
        """From the first clips on, which wait for Ray and for the model."""
        (first, began), (last, ended) = self._first, self._last
        return round((last - first) / (ended - began), 2) if ended > began else 0.0

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.note()

    def note(self) -> None:
        """Look once."""
        self._count()
        now = processes_mb()
        # After the last clip the processes end one by one.
        if not 0 < self._done < self._clips or not now["actor"]:
            return
        self._last = (self._done, time.perf_counter())
        self._first = self._first if self._first[0] else self._last
        most = self.latest.get("most", {})
        self.latest = {
            "most": {kind: max(most.get(kind, 0), found["resident"]) for kind, found in now.items()},
            "anonymous": {kind: found["anonymous"] for kind, found in now.items()},
        }
        while self._milestones and self._done >= self._milestones[0]:
            self.by_clip[str(self._milestones.pop(0))] = self.latest

    def _count(self) -> None:
        """Count the clips scored since the last time."""
        with suppress(FileNotFoundError), self._scores.open("rb") as file:
            file.seek(self._read)
            new = file.read()
            self._read += len(new)
            self._done += new.count(b"\n")


def processes_mb() -> dict[str, dict[str, int]]:
    """Memory of this process (driver), the most that an actor has, and of all other processes of Ray together."""
    names, actors, others = ("resident", "anonymous"), [], []
    for pid in below(os.getpid()):
        found = memory_mb(pid)
        if found:
            (actors if ACTOR in read(f"/proc/{pid}/cmdline") else others).append(found)
    most = {name: max(found[name] for found in actors) for name in names} if actors else {}
    ray = {name: sum(found[name] for found in others) for name in names}
    return {"driver": memory_mb(os.getpid()), "actor": most, "ray": ray}


def memory_mb(pid: int) -> dict[str, int]:
    """Resident memory of a process, and its own part of it; nothing of one that has ended."""
    lines = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").decode().splitlines())
    if "RssAnon" not in lines:
        return {}
    in_mb = {name: round(int(lines[name].split()[0]) * 1024 / 1e6) for name in ("VmRSS", "RssAnon")}
    return {"resident": in_mb["VmRSS"], "anonymous": in_mb["RssAnon"]}


def below(root: int) -> list[int]:
    """The processes that a process started, and those that they did."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        fields = read(f"{entry}/stat").rpartition(b")")[2].split()
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, pending = [], [root]
    while pending:
        pending += (new := children.get(pending.pop(), []))
        found += new
    return found


def read(path: str) -> bytes:
    """A file of /proc; nothing of a process that has ended."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    main()
