"""How much faster lia_model's generator is than the published formulation, forward and backward.

    python -m benchmarks.model_step [--size 256] [--batch 2] [--rounds 5] [--threads N] [--device cuda]

Both sides compute the same function of the same weights in one process. Rounds alternate, so that a change in the
machine's load meets both. Prints JSON: median seconds and the median of the rounds' ratios, on the wall clock and
in processor time; the largest differences of the outputs and of the motion basis's gradients; and the machine.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import published_formulation
from lia_model.config import LiaConfig
from lia_model.fir import fir_kernel
from lia_model.generator import Generator
from lia_model.published import generator_layout, load_generator

UPSAMPLING_GAIN = 4.0


def random_published_weights(config: LiaConfig) -> dict[str, Tensor]:
    """Weights by published name: N(0,1), biases small, filters as they are."""
    weights = {}
    for tensor in generator_layout(config):
        if tensor.name.endswith("kernel"):
            upsamples = "upsample" in tensor.name or "blur" in tensor.name
            weights[tensor.name] = fir_kernel(UPSAMPLING_GAIN if upsamples else 1.0)
            continue
        value = torch.randn(tensor.shape)
        if tensor.name.endswith("bias"):
            value = value * 0.1 + ("modulation" in tensor.name)
        weights[tensor.name] = value.requires_grad_()
    return weights


def smooth_images(batch: int, size: int) -> Tensor:
    """Images whose warped pixels do not hang on the flow's last bits, so that outputs can be compared."""
    return F.interpolate(torch.randn(batch, 3, 8, 8), size=(size, size), mode="bicubic").clamp(-1, 1)


def as_generator(weights: dict[str, Tensor]) -> Generator:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.pt"
        torch.save({"gen": {name: tensor.detach() for name, tensor in weights.items()}}, path)
        return load_generator(path)


def forward_backward(run: Callable[[], Tensor], parameters: list[Tensor]) -> Tensor:
    for parameter in parameters:
        parameter.grad = None
    image = run()
    image.square().mean().backward()
    return image.detach()


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def seconds(run: Callable[[], object], synchronise: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the wall clock, and of processor time over all threads, which others' load does not stretch."""
    synchronise()
    started, started_cpu = time.perf_counter(), time.process_time()
    run()
    synchronise()
    return time.perf_counter() - started, time.process_time() - started_cpu


def measure(size: int, batch: int, rounds: int, device: str) -> dict[str, object]:
    torch.manual_seed(0)
    weights = random_published_weights(LiaConfig(image_size=size))
    generator = as_generator(weights).to(device)
    weights = {name: tensor.detach().to(device).requires_grad_() for name, tensor in weights.items()}
    source, driving = (smooth_images(batch, size).to(device) for _ in range(2))
    ours_parameters = list(generator.parameters())

    def published() -> Tensor:
        image = lambda: published_formulation.generate(weights, source, driving)  # noqa: E731
        return forward_backward(image, list(weights.values()))

    def ours() -> Tensor:
        return forward_backward(lambda: generator(source, driving), ours_parameters)

    difference = relative_difference(ours(), published())  # also the warm-up of both
    basis = relative_difference(generator.motion_basis.weight.grad, weights["dec.direction.weight"].grad)
    synchronise = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    times: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for _ in range(rounds):
        times.append((seconds(published, synchronise), seconds(ours, synchronise)))
    clocks = {"wall": 0, "cpu": 1}
    return {
        "what": f"generator forward and backward, {size} px, batch {batch}, float32",
        **{name: compare(times, clock) for name, clock in clocks.items()},
        "output_difference": difference,
        "basis_gradient_difference": basis,
    }


def compare(times: list[tuple[tuple[float, float], tuple[float, float]]], clock: int) -> dict[str, object]:
    """By one of the two clocks: medians of both sides, and of the rounds' ratios, in which load cancels."""
    published = [theirs[clock] for theirs, _ in times]
    ours = [own[clock] for _, own in times]
    medians = statistics.median(published), statistics.median(ours)
    return {
        "seconds_published": round(medians[0], 3),
        "seconds_ours": round(medians[1], 3),
        "ratio": round(statistics.median(a / b for a, b in zip(published, ours, strict=True)), 2),
        "all_seconds_published": [round(value, 3) for value in published],
        "all_seconds_ours": [round(value, 3) for value in ours],
    }


def machine(device: str) -> dict[str, object]:
    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's own choice")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    result = measure(options.size, options.batch, options.rounds, options.device)
    print(json.dumps({**result, "machine": machine(options.device)}, indent=2))


if __name__ == "__main__":
    main()
