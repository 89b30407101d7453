"""The most memory that a training step takes, in a process of its own, beside what `lia train --dry-run` says of it.

    python -m benchmarks.memory [RECIPE] [--pairs 1,2,3] [--case NAME=FIELD:VALUE,...]... [--device cuda]

Each case is a set of changes to the recipe; each batch size of each case runs two steps on random images in a process
of its own. On processors the measured figure is the process's largest resident size (VmHWM: ru_maxrss, unlike it, is
inherited from the parent) less its size before the networks were made; on a GPU, torch's max_memory_allocated. With
three or more batch sizes the line through them is given as well. Prints JSON.

    python -m benchmarks.memory --pairs 8 --case plain= --case recompute=compute.recompute:true
    python -m benchmarks.memory --pairs 1 --case size512=model.image_size:512,prepare.size:512,model.width:0.05
"""

import argparse
import json
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lia_model.config import LiaConfig
from orchestration import configuration
from orchestration.experiment import Experiment, LossConfig
from orchestration.recipes import recipe
from orchestration.training.simulated_step import random_perceptual, simulate_step
from orchestration.training.step import Networks, Share, TrainingStep
from pipelines.cropping.config import PrepareConfig

_STEPS = 2
_WITHOUT_FEATURES = LossConfig(perceptual=0.0, perceptual_features="none")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="vox256")
    parser.add_argument(
        "--pairs", default="1,2,3", help="batch sizes, each gone through at once unless a case says so"
    )
    parser.add_argument("--case", action="append", metavar="NAME=FIELD:VALUE,...", help="default: plain=")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--estimate-only", action="store_true", help="run nothing real")
    parser.add_argument("--measure-this", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_this:
        print(
            measure_here(
                configuration.experiment_from_dict(json.loads(options.measure_this), origin="argument")
            )
        )
        return
    batches = [int(pairs) for pairs in options.pairs.split(",")]
    cases = dict(parse_case(case) for case in options.case or ["plain="])
    results = []
    for name, changes in cases.items():
        changed = configuration.override(recipe(options.recipe), changes, origin=name)
        rows = [
            compare(alone(changed, pairs, options.device), not options.estimate_only) for pairs in batches
        ]
        results.append({"case": name, "changes": changes, "batches": rows, **line(rows)})
    print(
        json.dumps(
            {"benchmark": "memory", "recipe": options.recipe, "cases": results, "machine": machine()},
            indent=2,
        )
    )


def parse_case(text: str) -> tuple[str, dict[str, str]]:
    """NAME=FIELD:VALUE,... as the name and the changed fields."""
    name, _, changes = text.partition("=")
    fields = (change.partition(":") for change in changes.split(",") if change)
    return name, {field: value for field, _, value in fields}


def alone(experiment: Experiment, pairs: int, device: str) -> Experiment:
    """The experiment with one worker and `pairs` in a batch."""
    schedule = replace(experiment.schedule, batch_size=pairs, workers=1, min_workers=0)
    return replace(experiment, schedule=schedule, compute=replace(experiment.compute, device=device))


def compare(experiment: Experiment, measure: bool) -> dict[str, Any]:
    estimated = simulate_step(experiment)
    row: dict[str, Any] = {
        "pairs": experiment.schedule.batch_size,
        "parts": experiment.schedule.micro_batches,
        "estimated_gb": round(estimated.peak / 1e9, 3),
    }
    if measure:
        row["measured_gb"] = round(measure_apart(experiment) / 1e9, 3)
        row["estimated_over_measured"] = round(row["estimated_gb"] / row["measured_gb"], 3)
    print(
        json.dumps(row), file=sys.stderr, flush=True
    )  # what is known already, of a measurement that takes long
    return row


def measure_apart(experiment: Experiment) -> int:
    """Bytes that a step takes at most, by a process of its own."""
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--measure-this", json.dumps(configuration.to_dict(experiment))],
        check=True, text=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    return int(said)


def measure_here(experiment: Experiment) -> int:
    """Bytes that a step takes at most, in this process, which must not have done anything large before."""
    device = experiment.compute.device
    schedule, side = experiment.schedule, experiment.model.image_size
    warm_up(experiment)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = resident()
    share = Share(batch_size=schedule.batch_size, micro_batch_size=schedule.micro_batch_size, ranks=1)
    step = TrainingStep(
        Networks.create(experiment, device), random_perceptual(experiment.loss), experiment, share=share
    )
    source, driving = (
        torch.rand(schedule.batch_size, 3, side, side, device=device) * 2 - 1 for _ in range(2)
    )
    for _ in range(_STEPS):
        step(source, driving)
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resident("VmHWM") - before


def warm_up(experiment: Experiment) -> None:
    """A step of a tiny model, so that all libraries are loaded: they are no part of a step's memory."""
    model = LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.03)
    tiny = replace(experiment, model=model, prepare=PrepareConfig(size=32))
    device = experiment.compute.device
    images = torch.rand(2, 3, 32, 32, device=device)
    TrainingStep(Networks.create(tiny, device), None, replace(tiny, loss=_WITHOUT_FEATURES))(images, images)


def resident(entry: str = "VmRSS") -> int:
    """Bytes of this process's memory: now, or (VmHWM) the most there were."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (size,) = (int(line.split()[1]) for line in lines if line.startswith(f"{entry}:"))
    return size * 1024


def line(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The straight line through three or more measured batch sizes, how far they are from it, and what it says of 8."""
    points = [(row["pairs"], row["measured_gb"]) for row in rows if "measured_gb" in row]
    if len(points) < 3:
        return {}
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    base = mean_y - slope * mean_x
    return {
        "gb_a_pair": round(slope, 3),
        "gb_without_pairs": round(base, 3),
        "farthest_from_line_gb": round(max(abs(base + slope * x - y) for x, y in points), 3),
        "gb_at_8_pairs": round(base + 8 * slope, 2),
    }


def machine() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"machine": platform.machine(), "gpu": gpu, "torch": torch.__version__}


if __name__ == "__main__":
    main()
