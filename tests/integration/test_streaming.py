"""`lia run --wait-for first`: training begins while shards are still being made, and goes on with more of them.

Ctrl-C comes while both are at work, and once more the driver is killed; the same command goes on. A gate before ffmpeg
keeps the preparation from ending before training has begun, and the last training is paused until it has ended, so that
whichever is faster, few steps are enough to see all clips come.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from orchestration.cli.main import INTERRUPTED
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.editions import GrowingDataset
from pipelines.dataset.pairs import PairDataset
from tests.processes import PATIENCE, descendants, wait_for
from tests.small_corpus import folder_bytes, prepare_without_ray
from tests.small_pipeline import RECIPE, raw_video
from tests.small_training import WORKER
from tracking.provenance import TAG_PREFIX
from tracking.run import Run

ROOT = Path(__file__).parents[2]
TRAIN_CLIPS = 60
PASS = 30
"""Clips that are let through before the gate opens: the held-out ones, and a shard or two of the others."""
GATED = """#!/bin/sh
case "$*" in
*-version*) ;;
*)
    while [ ! -e {root}/open ] && [ $(ls {root}/passed | wc -l) -ge {most} ]; do sleep 0.3; done
    touch {root}/passed/$$
    ;;
esac
exec {ffmpeg} "$@"
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Long clips that overlap, so that few frames of video make several shards of 1 MB."""
    root = tmp_path_factory.mktemp("corpus")
    (root / "videos").mkdir()
    lines = ["video_id,start,end,bbox,fps,width,height,partition"]
    for seed, (name, partition, clips) in enumerate([("one", "train", TRAIN_CLIPS), ("two", "test", 3)]):
        raw_video(root / "videos" / f"{name}.mp4", 100 + clips, seed)
        lines += [f"{name},{start},{start + 100},16-0-80-64,25,96,64,{partition}" for start in range(clips)]
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    (root / "passed").mkdir()
    gated = root / "gated-ffmpeg"
    gated.write_text(GATED.format(root=root, most=PASS, ffmpeg=get_ffmpeg_exe()))
    gated.chmod(0o755)
    return root


class LiaRun:
    """`lia run` in a process of its own."""

    def __init__(self, corpus: Path, out: Path, *more: str, gated: bool = False) -> None:
        self.out, self.log = out, out.with_suffix(".log")
        words = [
            *("run", *RECIPE, "--model.image_size", "64", "--prepare.size", "64", "--prepare.shard_mb", "1"),
            *("--prepare.clip_seconds_limit", "1200", "--schedule.workers", "1"),
            *("--schedule.steps", "150", "--schedule.checkpoint_every", "10"),
            *("--dataset", "taichi", "--metadata", corpus / "metadata.csv", "--videos", corpus / "videos"),
            *("--out", out, *more),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{out.parent}/mlflow.db",
            **({"LIA_FFMPEG": str(corpus / "gated-ffmpeg")} if gated else {}),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestration.cli", *map(str, words)],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def checkpoints(self) -> list[Path]:
        return sorted(self.out.glob("run-*/checkpoints/step-*/state.json"))

    def dataset(self) -> Path:
        (found,) = self.out.glob("dataset-*")
        return found

    def wait(self) -> None:
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Until it is so, while the run lives."""
        wait_for(lambda: condition() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()


@pytest.mark.slow
def test_training_begins_with_the_first_shards_and_goes_on_with_more(corpus, tmp_path):
    run = LiaRun(corpus, tmp_path / "first", "--wait-for", "first", gated=True)
    try:
        run.wait_until(lambda: len(run.checkpoints()) >= 2)
        early = json.loads(run.checkpoints()[0].read_text())["edition"]
        assert early >= 1
        assert not (run.dataset() / "dataset.json").exists()
        working = descendants(run.process.pid, b"ray::", b"raylet")
        assert working
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(PATIENCE) == INTERRUPTED, run.log.read_text()
        assert "interrupted; what was finished is kept" in run.log.read_text()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in working), 60)

        newest = run.checkpoints()[-1]
        run = LiaRun(corpus, tmp_path / "first", "--wait-for", "first", gated=True)
        run.wait_until(lambda: run.checkpoints()[-1] > newest)
        assert not (run.dataset() / "dataset.json").exists()
    finally:
        run.process.kill()
        run.process.wait()
    (corpus / "open").touch()
    run = LiaRun(corpus, tmp_path / "first", "--wait-for", "first", gated=True)
    try:
        run.wait_until(lambda: descendants(run.process.pid, WORKER))
        (worker,) = descendants(run.process.pid, WORKER)
        os.kill(worker, signal.SIGSTOP)
        run.wait_until((run.dataset() / "dataset.json").exists)
        os.kill(worker, signal.SIGCONT)
        run.wait()
    finally:
        run.process.kill()
        run.process.wait()
    (folder,) = run.out.glob("run-*")
    record = json.loads((folder / "run.json").read_text())
    mlflow = Run.attach(record["run_id"], tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    clips = [int(value) for _, value in mlflow.history("data/clips")]
    assert clips[0] < TRAIN_CLIPS
    assert clips == sorted(clips)
    assert clips[-1] == TRAIN_CLIPS
    last = json.loads(run.checkpoints()[-1].read_text())["edition"]
    used = GrowingDataset(run.dataset(), "train").open(last)
    assert len(used) == clips[-1]
    assert mlflow.facts().tags[f"{TAG_PREFIX}dataset_digest"] == used.digest
    assert (folder / "registered.json").is_file()

    config = PrepareConfig(size=64, shard_mb=1)
    metadata = read_metadata(corpus / "metadata.csv", "taichi", corpus / "videos")
    whole = tmp_path / "whole"
    prepare_without_ray(metadata, config, corpus / "videos", whole)

    def shards(folder: Path) -> dict[str, bytes]:
        return {name: data for name, data in folder_bytes(folder).items() if name.endswith(".tar")}

    assert len(shards(whole)) >= 5
    assert shards(run.dataset()) == shards(whole)
    assert PairDataset(run.dataset(), "train").digest == PairDataset(whole, "train").digest
