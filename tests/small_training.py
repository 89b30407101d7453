"""A training so small that a test can start, kill and resume it: the dataset, the run, its processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from orchestration.training.checkpoint_store import CheckpointStore
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.media.video import write_video
from tests.processes import PATIENCE, descendants, wait_for
from tests.small_corpus import prepare_without_ray

ROOT = Path(__file__).parents[1]
STEPS = 120
EVERY = 10
"""Steps between two checkpoints."""
# The schedule is longer than a test goes: a run that stops before its end registers no model, which takes a while.
RECIPE = (
    *("demo", "--model.image_size", "32", "--prepare.size", "32", "--model.style_dim", "16"),
    *("--model.motion_dim", "3", "--model.width", "0.03", "--loss.adversarial", "1"),
    *("--schedule.batch_size", "4", "--schedule.steps", "100000", "--schedule.log_every", "2"),
    *("--schedule.sample_every", "100000", "--schedule.validate_every", "100000"),
    *("--schedule.validation_pairs", "4", "--schedule.checkpoint_every", str(EVERY)),
)
WORKER = b"RayTrainWorker"


def write_dataset(folder: Path) -> Path:
    """A dataset of three clips to train on and one to test on, 32 px."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["video_id,start,end,bbox,fps,width,height,partition"]
    for name, partition in (("a", "train"), ("b", "train"), ("c", "train"), ("d", "test")):
        scene = rng.integers(0, 255, (8, 16, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        write_video(videos / f"{name}.mp4", [np.roll(scene, 2 * number, axis=1) for number in range(20)], 25)
        lines.append(f"{name},0,20,0-0-64-64,25,128,64,{partition}")
    metadata = folder / "metadata.csv"
    metadata.write_text("\n".join(lines) + "\n")
    prepare_without_ray(
        read_metadata(metadata, "taichi", videos), PrepareConfig(size=32), videos, folder / "dataset"
    )
    return folder / "dataset"


class Training:
    """`lia train`, or another verb, in a process of its own, in the folder `cwd`; what it says is kept in a file."""

    def __init__(
        self,
        cwd: Path,
        *arguments: str | Path,
        out: str | Path = "run",
        address: str = "",
        verb: str = "train",
    ) -> None:
        self.out = cwd / out
        self.log = cwd / f"said-{len(list(cwd.glob('said-*')))}.txt"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": address, "OMP_NUM_THREADS": "1"}
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{cwd.parent / 'mlflow.db'}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestration.cli", verb, "--out", str(out), *map(str, arguments)],
                cwd=cwd, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text().replace("\r", "\n")

    @property
    def checkpoints(self) -> CheckpointStore:
        return CheckpointStore(self.out / "checkpoints")

    def wait_for_step(self, step: int) -> None:
        """Until a checkpoint of this step or a later one is there."""
        wait_for(lambda: self.running() and any(found >= step for found in self.checkpoints.steps()))

    def wait_for_words(self, words: str) -> None:
        wait_for(lambda: self.running() and words in self.said)

    def running(self) -> bool:
        """True, or a failure that shows what was said."""
        assert self.process.poll() is None, self.said
        return True

    def end(self, status: int = 0, *, seconds: float = PATIENCE) -> str:
        """Wait until it is over; what it said."""
        self.process.wait(seconds)
        assert self.process.returncode == status, f"{self.process.returncode}: {self.said}"
        return self.said

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill the command's process, and it alone."""
        self.process.send_signal(number)
        self.process.wait(60)

    def close(self) -> None:
        """Leave nothing of it behind."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


def workers(root: int | None = None) -> list[int]:
    """The processes of training workers below `root` (this process)."""
    return descendants(os.getpid() if root is None else root, WORKER)


def result(out: Path, step: int = STEPS) -> dict[str, str]:
    """sha256 of every file of a step's checkpoint: weights, optimisers, the generator's state."""
    state = json.loads((out / "checkpoints" / f"step-{step:08d}" / "state.json").read_text())
    files = state["files"]
    assert {"generator/model.safetensors", "discriminator.safetensors", "optimisers.pt"} <= files.keys()
    return files


def last_step(said: str) -> int:
    """The last step on the progress line."""
    return max(map(int, re.findall(r"\| (\d+)/\d+ \[", said)), default=0)


def freeze_while_writing(pids: list[int], out: Path) -> Path:
    """Stop the processes at a moment at which a checkpoint is half written; its unfinished folder."""

    def caught() -> Path | None:
        for partial in (out / "checkpoints").glob(".step-*.partial"):
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(0.05)
            if partial.exists():
                return partial
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        return None

    return wait_for(caught)
