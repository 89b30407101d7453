"""Whether training in bfloat16 goes the way of training in float32.

    python -m benchmarks.precision [--steps 300] [--size 64] [--width 0.25] [--batch 4] [--device cuda] [--lr 0.0005]

Two trainings from the same weights on the same batches, one in each precision, with all three losses (VGG19 random with
a fixed seed). Adam without a first moment turns roundings into other trainings, so single steps drift apart in any
precision; a third training, in float32 from weights that differ in the last bits, says how far. Prints JSON: the mean
of each loss over the last third of the steps in each training, and the relative differences of bfloat16 and of the
third training to float32.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks import sides
from lia_model.config import LiaConfig
from lia_model.losses import PerceptualLoss
from orchestration.experiment import ComputeConfig, Experiment, OptimiserConfig
from orchestration.training.step import Networks, TrainingStep
from pipelines.cropping.config import PrepareConfig

LAST_BITS = 1e-6
IMAGES = 32


def losses(
    model: LiaConfig,
    precision: Literal["fp32", "bf16"],
    *,
    steps: int,
    batch: int,
    lr: float,
    device: str,
    nudge: float = 0.0,
) -> dict[str, Tensor]:
    """Each loss term's value at every step."""
    experiment = Experiment(
        name="benchmark",
        model=model,
        prepare=PrepareConfig(size=model.image_size),
        optimiser=OptimiserConfig(lr=lr, initial_flow=0.05),
        compute=ComputeConfig(precision=precision, channels_last=True),
    )
    networks = Networks.create(experiment, device)
    torch.manual_seed(1)
    perceptual = PerceptualLoss(sides.random_vgg())
    for parameter in networks.generator.parameters():
        parameter.data.mul_(1 + nudge)
    step = TrainingStep(networks, perceptual, experiment)
    rows = [step(*pair) for pair in _batches(model.image_size, steps, batch, device)]
    return {name: torch.stack([row[name].float() for row in rows]).cpu() for name in rows[0]}


def _batches(size: int, steps: int, batch: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Random pairs out of one small set of smooth images."""
    generator = torch.Generator().manual_seed(2)
    images = sides.smooth_images(IMAGES, size)
    for _ in range(steps):
        chosen = torch.randint(IMAGES, (2, batch), generator=generator)
        source, driving = images[chosen].to(device)
        yield source, driving


def measure(model: LiaConfig, *, steps: int, batch: int, lr: float, device: str) -> dict[str, object]:
    options: dict[str, Any] = {"steps": steps, "batch": batch, "lr": lr, "device": device}
    runs = {
        "fp32": losses(model, "fp32", **options),
        "bf16": losses(model, "bf16", **options),
        "fp32_nudged": losses(model, "fp32", **options, nudge=LAST_BITS),
    }
    last = max(1, steps // 3)
    means = {
        run: {name: float(values[-last:].mean()) for name, values in terms.items()}
        for run, terms in runs.items()
    }
    first = {run: {name: float(values[0]) for name, values in terms.items()} for run, terms in runs.items()}
    return {
        "what": f"{steps} steps at {model.image_size} px, width {model.width}, batch {batch}",
        "mean_losses_of_last_third": means,
        "bf16_difference": _differences(means["bf16"], means["fp32"]),
        "fp32_difference_by_last_bits": _differences(means["fp32_nudged"], means["fp32"]),
        "bf16_difference_first_step": _differences(first["bf16"], first["fp32"]),
    }


def _differences(these: dict[str, float], those: dict[str, float]) -> dict[str, float]:
    return {name: round(abs(these[name] - those[name]) / abs(those[name]), 5) for name in those}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.0005)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's own choice")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = LiaConfig(image_size=options.size, width=options.width)
    result = measure(model, steps=options.steps, batch=options.batch, lr=options.lr, device=options.device)
    print(json.dumps({**result, "machine": sides.machine(options.device)}, indent=2))


if __name__ == "__main__":
    main()
