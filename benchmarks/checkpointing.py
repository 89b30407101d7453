"""What checkpoints and the question whether to stop cost a training, against the time between two checkpoints.

    python -m benchmarks.checkpointing [--recipe vox256] [--batch 1] [--rounds 3] [--threads N] [--folder DIR]

Makes the recipe's networks with full optimiser states, measures training steps without the perceptual term on
synthetic images, then saves checkpoints between steps and measures: seconds that training is held up (the copy of
the networks, and the wait for the write before), seconds of the step during which the write goes on beside it, and
bytes and seconds of the write itself. Two gloo ranks measure the word that they exchange between steps. Prints
JSON; `share` is what all that comes to at the recipe's `checkpoint_every`, were a step as long as the one measured.
"""

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from orchestration import configuration
from orchestration.experiment import Experiment
from orchestration.recipes import recipe
from orchestration.training.checkpoint import Progress, Snapshot
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.ray_rank import WORD_EVERY_S
from orchestration.training.step import Networks, TrainingStep

WORDS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="vox256")
    parser.add_argument("--batch", type=int, default=1, help="pairs in a step")
    parser.add_argument(
        "--rounds", type=int, default=3, help="checkpoints saved, and steps measured on each side"
    )
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument(
        "--folder", type=Path, help="where to write checkpoints; a temporary folder if left out"
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    experiment = recipe(options.recipe)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = measure(experiment, Path(folder), options.batch, options.rounds)
    report["stop_word_us"] = stop_word_us()
    report["stop_word_share"] = report["stop_word_us"] / 1e6 / max(WORD_EVERY_S, report["step_s"])
    report["machine"] = {
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(report, indent=2))


def measure(experiment: Experiment, folder: Path, batch: int, rounds: int) -> dict[str, Any]:
    without_features = replace(experiment.loss, perceptual=0.0, perceptual_features="none")
    networks = Networks.create(replace(experiment, loss=without_features))
    training = TrainingStep(networks, None, replace(experiment, loss=without_features))
    size = experiment.model.image_size
    images = torch.rand(2, batch, 3, size, size) * 2 - 1
    training(*images)  # gives the optimisers their moments
    store = CheckpointStore(folder / "checkpoints", keep=1)
    alone, beside, held_up, written = [], [], [], []
    for number in range(1, rounds + 1):
        alone.append(seconds(lambda: training(*images)))
        held_up.append(seconds(lambda at=number: store.save(snapshot(networks, experiment, at))))
        beside.append(seconds(lambda: training(*images)))
        store.finish()
        taken = snapshot(networks, experiment, number)
        written.append(seconds(lambda at=number, taken=taken: taken.write(folder / f"alone-{at}")))
    step_s, every = statistics.median(alone), experiment.schedule.checkpoint_every
    cost = statistics.median(held_up) + max(0.0, statistics.median(beside) - step_s)
    files = [path for path in (folder / "alone-1").rglob("*") if path.is_file()]
    return {
        "recipe": experiment.name,
        "batch": batch,
        "step_s": step_s,
        "checkpoint_every": every,
        "between_checkpoints_s": every * step_s,
        "held_up_s": statistics.median(held_up),
        "step_beside_the_write_s": statistics.median(beside),
        "write_s": statistics.median(written),
        "megabytes": sum(path.stat().st_size for path in files) / 1e6,
        "share": cost / (every * step_s),
        "share_reaches_2_percent_at_every": math.ceil(cost / 0.02 / step_s),
    }


def snapshot(networks: Networks, experiment: Experiment, step: int) -> Snapshot:
    progress = Progress(
        step=step,
        pairs_seen=0,
        epoch=0,
        config=configuration.to_dict(experiment),
        dataset_digest="",
        world_size=1,
    )
    return Snapshot.take(networks, progress, torch.get_rng_state()[None])


def stop_word_us() -> float:
    """Median microseconds that two ranks take to exchange the word on whether to stop."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        torch.multiprocessing.spawn(_exchange_words, (str(meeting), str(Path(folder) / "us")), nprocs=2)
        return float((Path(folder) / "us").read_text())


def _exchange_words(rank: int, meeting: str, answer: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    word = torch.zeros(1, dtype=torch.int64)
    took = [seconds(lambda: dist.broadcast(word, 0)) for _ in range(WORDS)]
    dist.barrier()
    if rank == 0:
        Path(answer).write_text(str(statistics.median(took) * 1e6))
    dist.destroy_process_group()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
