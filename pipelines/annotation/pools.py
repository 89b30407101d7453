"""How the processors and GPUs of a cluster are shared out between decoders and detectors. No Ray."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.annotation.config import AnnotateConfig
from pipelines.errors import InputError


@dataclass(frozen=True)
class Node:
    """What one machine of the cluster has."""

    cpus: int
    gpus: int = 0


@dataclass(frozen=True)
class Pools:
    """How many processes decode and how many detect."""

    decoders: int
    detectors: int


def plan_pools(config: AnnotateConfig, videos: int, nodes: Sequence[Node]) -> Pools:
    """Share out what the cluster has; raises InputError when it is too little.

    A detector takes some four times as long for a frame as a decoder. With GPUs the processors are for decoding,
    but for the one that each detector needs beside its GPU, on the same machine.
    """
    cpus = sum(node.cpus for node in nodes)
    if cpus < 2:
        raise InputError(
            f"the cluster has {cpus} processors; annotating needs two: one decodes, one detects."
        )
    most = _most_detectors(config, nodes, cpus - 1)
    if config.detectors or config.detector_gpus:
        detectors = config.detectors or most
        return Pools(decoders=min(cpus - detectors, videos), detectors=detectors)
    decoders = min(max(1, cpus // 4), videos)
    return Pools(decoders=decoders, detectors=cpus - decoders)


def plan_apart(
    config: AnnotateConfig, videos: int, decoding: Sequence[Node], detecting: Sequence[Node]
) -> Pools:
    """As many of both as there is room for, where decoders and detectors have machines of their own.

    Raises InputError where a detector does not fit on any.
    """
    most = _most_detectors(config, detecting, sum(node.cpus for node in detecting))
    return Pools(
        decoders=min(sum(node.cpus for node in decoding), videos), detectors=config.detectors or most
    )


def _most_detectors(config: AnnotateConfig, nodes: Sequence[Node], processors: int) -> int:
    """Detectors for which there are processors and GPUs. Raises InputError when more are asked for, or none fits."""
    most = processors
    if config.detector_gpus:
        most = min(most, sum(_room(node, config.detector_gpus) for node in nodes))
        if not most:
            gpus = max(node.gpus for node in nodes)
            raise InputError(
                f"annotate.detector_gpus = {config.detector_gpus:g}, but no machine of the cluster has more than "
                f"{gpus} GPUs with a processor each. Set it to 0."
            )
    if config.detectors > most:
        raise InputError(
            f"annotate.detectors = {config.detectors}, but the cluster has room for {most}. Set it to 0 (automatic)."
        )
    return most


def _room(node: Node, gpus: float) -> int:
    """Detectors of a processor and `gpus` each that a machine holds; a share is of one GPU, never of two."""
    fitting = node.gpus * math.floor(1 / gpus + 1e-9) if gpus < 1 else node.gpus // int(gpus)
    return min(node.cpus, fitting)
