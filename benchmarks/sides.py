"""What the comparisons with the published formulation share: equal weights, images, clocks, and how rounds compare."""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lia_model.discriminator import Discriminator
from lia_model.fir import fir_kernel
from lia_model.generator import Generator
from lia_model.published import PublishedTensor, load_discriminator, load_generator
from lia_model.vgg import VggFeatures

UPSAMPLING_GAIN = 4.0
# A round's times: (seconds on the wall clock, seconds of processor time over all threads).
Clocks = tuple[float, float]
CLOCKS = ("wall", "cpu")


def random_published_weights(layout: list[PublishedTensor]) -> dict[str, Tensor]:
    """Weights by published name: N(0,1), biases small, filters as they are."""
    weights = {}
    for tensor in layout:
        if tensor.name.endswith("kernel"):
            upsamples = "upsample" in tensor.name or "blur" in tensor.name
            weights[tensor.name] = fir_kernel(UPSAMPLING_GAIN if upsamples else 1.0)
            continue
        value = torch.randn(tensor.shape)
        if tensor.name.endswith("bias"):
            value = value * 0.1 + ("modulation" in tensor.name)
        weights[tensor.name] = value
    return weights


def small_flows(weights: dict[str, Tensor], factor: float) -> None:
    """Scale the flow heads' weights, as training may begin: with the published ones images are torn by the warps."""
    for name in weights:
        if "to_flows" in name and name.endswith("conv.weight"):
            weights[name] = weights[name] * factor


def random_vgg() -> VggFeatures:
    """VGG19 with random weights of He's scale: as much work as ImageNet's, which need a file."""
    vgg = VggFeatures("vgg19")
    for parameter in vgg.parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
        else:
            parameter.normal_(std=0.01)
    return vgg


def smooth_images(batch: int, size: int) -> Tensor:
    """Images whose warped pixels do not hang on the flow's last bits, so that outputs can be compared."""
    return F.interpolate(torch.randn(batch, 3, 8, 8), size=(size, size), mode="bicubic").clamp(-1, 1)


def as_networks(
    generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor]
) -> tuple[Generator, Discriminator]:
    """lia_model's networks with these weights, read as a checkpoint of the published kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.pt"
        torch.save({"gen": dict(generator), "dis": dict(discriminator)}, path)
        return load_generator(path), load_discriminator(path)


def learning(weights: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """Copies on the device, of which all but the filters require gradients."""
    return {
        name: tensor.detach().clone().to(device).requires_grad_(not name.endswith("kernel"))
        for name, tensor in weights.items()
    }


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def synchroniser(device: torch.device | str) -> Callable[[], None]:
    """What waits for the device to be done."""
    return torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None


def seconds(run: Callable[[], object], synchronise: Callable[[], None]) -> Clocks:
    """Seconds on the wall clock, and of processor time over all threads, which others' load stretches less."""
    synchronise()
    started, started_cpu = time.perf_counter(), time.process_time()
    run()
    synchronise()
    return time.perf_counter() - started, time.process_time() - started_cpu


def alternate(
    published: Callable[[], object], ours: Callable[[], object], rounds: int, device: torch.device | str
) -> dict[str, object]:
    """Both sides in turns, so that a change in the machine's load meets both; see `compare`."""
    synchronise = synchroniser(device)
    times = [(seconds(published, synchronise), seconds(ours, synchronise)) for _ in range(rounds)]
    return {name: compare(times, clock) for clock, name in enumerate(CLOCKS)}


def compare(times: list[tuple[Clocks, Clocks]], clock: int) -> dict[str, object]:
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


def machine(device: torch.device | str) -> dict[str, object]:
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
