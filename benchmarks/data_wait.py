"""The share of training that waits for data, as the step log has it: real steps of the loop on a real dataset.

    python -m benchmarks.data_wait [--dataset DIR] [--width 0.125] [--batch 4] [--steps 12] [--loader-workers 0,1]

Trains a 256 px model in this process, without Ray and MLflow but with the loop's own meter and loader. The narrower the
model, the shorter a step and the larger the share: at full width it is many times smaller. The first record, in which
readers start and every clip's index is read, stands beside the later ones. Without --dataset a small one of synthetic
frames is made and removed. Prints JSON.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pair_loader import machine, synthetic_dataset
from lia_model.config import LiaConfig
from lia_model.generator import Generator
from orchestration.experiment import ComputeConfig, DataConfig, Experiment, LossConfig, ScheduleConfig
from orchestration.training.checkpoint import Origin
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.loop import Record, train_rank
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.pairs import PairDataset

RECORDS = 4


class Listener:
    """A rank alone in a process that keeps the records."""

    index = 0
    world_size = 1
    device = torch.device("cpu")

    def __init__(self, folder: Path) -> None:
        self.checkpoints = CheckpointStore(folder)
        self.records: list[Record] = []

    def wrap(self, network: nn.Module) -> nn.Module:
        return network

    def gather(self, row: Tensor) -> Tensor:
        return row[None]

    def stop_requested(self) -> bool:
        return False

    def note(self, message: str) -> None:
        print(message)

    def record(self, record: Record) -> None:
        self.records.append(record)
        print(f"step {record.step}: {record.data_wait:.3%} waiting for data", file=sys.stderr, flush=True)

    def validated(self, step: int, scores: Mapping[str, float]) -> None: ...

    def sample(self, step: int, model: Generator) -> None: ...

    def grown(self, step: int, clips: int) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, help="folder made by `lia prepare`")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--loader-workers", default="0,1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.dataset or synthetic_dataset(Path(folder), clips=64, frames=200, size=256)
        dataset = PairDataset(root, "train")
        results = []
        for readers in map(int, options.loader_workers.split(",")):
            experiment = narrow(dataset.size, options.width, options.batch, options.steps, readers)
            results.append(waits(experiment, dataset, Path(folder) / f"run-{readers}"))
    print(json.dumps({"benchmark": "data_wait", "results": results, "machine": machine()}, indent=2))


def narrow(size: int, width: float, batch: int, steps: int, readers: int) -> Experiment:
    """A model with an adversary, and a record every few steps."""
    return Experiment(
        name="data-wait",
        model=LiaConfig(image_size=size, style_dim=64, motion_dim=8, width=width),
        prepare=PrepareConfig(size=size),
        data=DataConfig(loader_workers=readers),
        loss=LossConfig(perceptual=0.0, perceptual_features="none"),
        schedule=ScheduleConfig(
            steps=steps, batch_size=batch, workers=1, log_every=max(1, steps // RECORDS), validation_pairs=0
        ),
        compute=ComputeConfig(device="cpu"),
    )


def waits(experiment: Experiment, dataset: PairDataset, folder: Path) -> dict[str, Any]:
    listener = Listener(folder)
    train_rank(experiment, dataset, listener, Origin(dataset_digest="", provenance={}))
    # The last record's time has the checkpoint in it, so it stays out.
    first, *later = listener.records[:-1]
    return {
        "loader_workers": experiment.data.loader_workers,
        "pairs_per_second": [round(record.pairs_per_second, 3) for record in (first, *later)],
        "data_wait_first": round(first.data_wait, 5),
        "data_wait_later": [round(record.data_wait, 5) for record in later],
    }


if __name__ == "__main__":
    main()
