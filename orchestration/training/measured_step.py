"""A few real training steps on this machine, on random images: how long they take, without data and other workers."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from lia_model.pixels import to_float
from orchestration.cluster import local_cpus
from orchestration.devices import best_device
from orchestration.experiment import Experiment
from orchestration.training.simulated_step import random_perceptual
from orchestration.training.step import Networks, TrainingStep

_ENOUGH_ROUNDS = 10
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker computes."""

    device: torch.device | None
    """None where the experiment wants a GPU and this machine has none."""
    name: str
    memory: int
    """Bytes that the device has."""
    free: int
    """Bytes of them that nobody uses now."""
    workers: int
    """Workers that share that memory."""
    threads: int
    """Processor threads a worker computes with; 0 on a GPU."""


@dataclass(frozen=True, kw_only=True)
class MeasuredStep:
    """How long steps took, without data and without other workers."""

    pairs: int
    """Pairs in each."""
    seconds: float
    """The median step's."""
    rounds: int


def this_machine(experiment: Experiment) -> Place:
    """What a worker would have on this machine."""
    wanted = experiment.compute.device
    if wanted != "cpu" and torch.cuda.is_available():
        device = best_device()
        free, memory = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        return Place(device=device, name=name, memory=memory, free=free, workers=1, threads=0)
    cpus, workers = local_cpus(), experiment.schedule.workers
    # More workers than processors are meant for more machines: then one of them has this machine to itself.
    sharing = workers if workers <= cpus else 1
    return Place(
        device=None if wanted == "cuda" else torch.device("cpu"),
        name="this machine's processors",
        memory=_memory(),
        free=_memory("MemAvailable"),
        workers=sharing,
        threads=cpus // sharing,
    )


def _memory(entry: Literal["MemTotal", "MemAvailable"] = "MemTotal") -> int:
    """Bytes of this machine's memory, or of what is left of it, within the limit of the container."""
    if not _MEMINFO.exists():  # not Linux: nobody says how much is free
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = _MEMINFO.read_text().splitlines()
    (found,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{entry}:"))
    try:
        return min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return found


def measure_step(experiment: Experiment, place: Place, *, needed: int, seconds: float) -> MeasuredStep | str:
    """Time real steps on random images, uncompiled: whole micro-batches if that goes in about `seconds`, else pairs.

    `needed` is what a step takes in bytes. Returns the reason where it cannot be done.
    """
    if place.device is None:
        return "the recipe wants a GPU, and this machine has none"
    if needed > place.free:
        return f"a step needs {needed / 1e9:.1f} GB, and {place.free / 1e9:.1f} GB are free"
    threads = torch.get_num_threads()
    torch.set_num_threads(place.threads or threads)
    try:
        with torch.random.fork_rng():
            return _timed_steps(experiment, place.device, seconds)
    finally:
        torch.set_num_threads(threads)


def _timed_steps(experiment: Experiment, device: torch.device, seconds: float) -> MeasuredStep:
    begin = time.perf_counter()
    experiment = replace(experiment, compute=replace(experiment.compute, compile=False))
    networks = Networks.create(experiment, device)
    once = TrainingStep(networks, random_perceptual(experiment.loss), experiment)
    side = experiment.model.image_size

    def timed(pairs: int) -> float:
        frames = torch.randint(0, 256, (pairs, 2, side, side, 3), dtype=torch.uint8)
        source, driving = to_float(frames.to(device)).unbind(1)
        start = time.perf_counter()
        once(source.contiguous(), driving.contiguous())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    timed(1)  # the first step is many times slower
    taken = [timed(1)]  # however little time is left
    pairs = experiment.schedule.micro_batch_size
    if time.perf_counter() - begin + 2 * taken[0] * pairs > seconds:
        pairs = 1  # warming up and one step of them all would take too long
    elif pairs > 1:
        timed(pairs)
        taken = [timed(pairs)]
    while len(taken) < _ENOUGH_ROUNDS and time.perf_counter() - begin + max(taken) < seconds:
        taken.append(timed(pairs))
    return MeasuredStep(pairs=pairs, seconds=sorted(taken)[len(taken) // 2], rounds=len(taken))
