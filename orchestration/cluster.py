"""Connecting to Ray: the cluster that RAY_ADDRESS names, or a quiet one on this machine."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from pipelines.errors import InputError

# Set before Ray is imported: its workers inherit them.
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


@dataclass(frozen=True)
class Resources:
    """What the connected cluster has in all."""

    cpus: int
    gpus: int


def local_cpus() -> int:
    """Processors this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def connected(*, at_least: int = 1, verbose: bool = False) -> Iterator[Resources]:
    """A connection to Ray for the length of a block; joins one that is open already.

    On this machine alone, Ray may run `at_least` processes at once even where there are fewer cores: two training
    workers then share one core rather than wait for each other for ever.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield _resources()
        return
    level = logging.INFO if verbose else logging.ERROR
    try:
        with nullcontext() if verbose else _quiet_core():
            if os.environ.get("RAY_ADDRESS"):
                ray.init(logging_level=level, log_to_driver=verbose)
            else:
                ray.init(
                    num_cpus=max(local_cpus(), at_least),
                    include_dashboard=False,
                    logging_level=level,
                    log_to_driver=verbose,
                )
    except ConnectionError as error:
        raise InputError(
            f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}: no Ray cluster answers there ({error}). "
            "Correct it, or unset it to run on this machine."
        ) from error
    try:
        yield _resources()
    finally:
        ray.shutdown()


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Keep remarks of Ray's C++ core off the terminal: what stops a run reaches us as an exception.

    The core writes to the process's own standard error, and announces there that it will be quiet.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _resources() -> Resources:
    import ray

    total = ray.cluster_resources()
    return Resources(cpus=int(total.get("CPU", 1)), gpus=int(total.get("GPU", 0)))
