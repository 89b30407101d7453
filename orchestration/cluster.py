"""Connecting to Ray: the cluster that RAY_ADDRESS names, or a quiet one on this machine."""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from orchestration.errors import Terminated, WorkFailedError
from orchestration.experiment import Experiment
from orchestration.leftover_workers import none_left
from orchestration.raylet_watch import local_raylet, watched
from pipelines.errors import InputError
from pipelines.placement import VARIABLES, Work, coming, demand, kind, living, on_a_cluster

# Workers inherit them.
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    # Or a thread that is still at work when the connection ends would start another Ray.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}


ANSWER_SECONDS = 5.0
STARTS = 3
"""Attempts to start Ray here, each of which Ray gives 30 s."""
_OWN_KILL = "killed by `ray.kill`"
_TOKEN_WANTED = (
    " Where it is right: a cluster with a token wants RAY_AUTH_MODE=token and that token in "
    "~/.ray/auth_token."
)


class NobodyListensError(ConnectionError):
    """At a cluster's address there is nothing."""


@dataclass(frozen=True)
class Node:
    """What one machine of the cluster has."""

    cpus: int
    gpus: int
    offers: frozenset[str] = frozenset()
    """Custom resources, by which work is placed."""

    @classmethod
    def of(cls, has: Mapping[str, float]) -> "Node":
        """From resources by Ray's names."""
        offers = frozenset(name for name, amount in has.items() if name not in ("CPU", "GPU") and amount > 0)
        return cls(int(has.get("CPU", 0)), int(has.get("GPU", 0)), offers)


@dataclass(frozen=True)
class Resources:
    """The machines of the connected cluster, those included that its autoscaler may start."""

    nodes: tuple[Node, ...]

    def for_work(self, work: Work) -> "Resources":
        """Those on which this work may be done."""
        name = kind(work)
        return Resources(tuple(node for node in self.nodes if not name or name in node.offers))

    @property
    def cpus(self) -> int:
        """CPUs in all."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return sum(node.gpus for node in self.nodes)


def worker_share(experiment: Experiment, resources: Resources) -> dict[str, float]:
    """What each training worker asks Ray for, such that all fit on the machines there are.

    A GPU each, with half of the CPUs that come with one (the rest is for readers); without GPUs the largest
    number of CPUs that lets every worker have as many. Raises InputError when there are too few of either, be it for
    `schedule.min_workers`.
    """
    resources = resources.for_work("train")
    schedule, device = experiment.schedule, experiment.compute.device
    among = f" on machines that offer {kind('train')}" if kind("train") else ""
    needed = schedule.min_workers if schedule.elastic else schedule.workers
    if device == "cuda" or (device == "auto" and resources.gpus):
        if resources.gpus < needed:
            raise InputError(
                f"schedule.workers = {schedule.workers}, but the cluster has {resources.gpus} GPUs{among}: set "
                + (f"--schedule.workers {resources.gpus}, or " if resources.gpus else "")
                + "--compute.device cpu, or add machines"
            )
        cpus = max(1, min(n.cpus // n.gpus for n in resources.nodes if n.gpus) // 2)
        return {"CPU": cpus, "GPU": 1, **demand("train")}
    if resources.cpus < needed:
        raise InputError(
            f"schedule.workers = {schedule.workers}, but the cluster has {resources.cpus} CPUs{among}: "
            + (f"set --schedule.workers {resources.cpus}, or " if resources.cpus else "")
            + "add machines"
        )
    return {"CPU": cpus_each(resources, schedule.workers), **demand("train")}


def cpus_of(share: Mapping[str, float]) -> int | None:
    """The CPUs of a worker with this share, which are its threads; None where it computes on a GPU."""
    return None if share.get("GPU") else int(share["CPU"])


def cpus_each(resources: Resources, workers: int) -> int:
    """The largest number of CPUs that each of so many workers can have at once; 1 where there are too few."""
    for cpus in range(max(node.cpus for node in resources.nodes), 1, -1):
        if sum(node.cpus // cpus for node in resources.nodes) >= workers:
            return cpus
    return 1


def local_cpus() -> int:
    """Processors this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quiet_ray() -> None:
    """Put QUIET into the environment; some of it counts only before Ray is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def connected(*, at_least: int = 1, verbose: bool = False) -> Iterator[Resources]:
    """A connection to Ray for the length of a block; joins one that is open already.

    On this machine alone, Ray may run `at_least` processes at once even where there are fewer cores: two training
    workers then share one core rather than wait for each other for ever. Where variables name machines of a cluster,
    as on its nodes, it is the cluster's and not this machine's alone. SIGTERM raises Terminated, in the block and
    while Ray starts.
    """
    quiet_ray()
    import ray

    if ray.is_initialized():
        yield _resources()
        return
    level = logging.INFO if verbose else logging.ERROR
    try:
        with nullcontext() if verbose else _quiet_core():
            if on_a_cluster():
                there = os.environ.get("RAY_ADDRESS") or "auto"
                _require_listener(there)
                ray.init(address=there, logging_level=level, log_to_driver=verbose)
            else:
                # Not whatever cluster happens to run on this machine: that takes RAY_ADDRESS=auto.
                start_locally(
                    num_cpus=max(local_cpus(), at_least), logging_level=level, log_to_driver=verbose
                )
    except (ConnectionError, ValueError) as error:  # nobody there, or no address
        if address := os.environ.get("RAY_ADDRESS"):
            raise InputError(
                f"RAY_ADDRESS={address}: no Ray cluster answers there ({error}). Correct it, or unset it to run on "
                f"this machine.{_TOKEN_WANTED if _is_refused(error) else ''}"
            ) from error
        named = " and ".join(variable for variable in VARIABLES.values() if os.environ.get(variable))
        raise InputError(
            f"{named}: set, which names machines of a cluster, but there is none on this machine ({error}). Give its "
            "address by RAY_ADDRESS, or unset them to run on this machine."
        ) from error
    except ray.exceptions.AuthenticationError as error:
        raise InputError(
            f"the token for Ray is missing or wrong ({str(error).splitlines()[0]}): set RAY_AUTH_MODE=token, and put "
            "what `ray get-auth-token` prints on the cluster's head into ~/.ray/auth_token"
        ) from error
    except SystemExit as left:
        if left.code == signal.SIGTERM:  # while Ray starts, its own handler is in place
            raise Terminated from None
        raise
    with nullcontext() if verbose else silent_on_own_kills():
        try:
            with watched(local_raylet()), _terminated_by_signal():
                yield _resources()
        finally:
            with none_left(local_raylet()):
                ray.shutdown()


def start_locally(**settings: Any) -> Any:
    """Start Ray on this machine, again where it took too long, as it may on a busy one; what `ray.init` returns."""
    import ray

    for _ in range(STARTS):
        try:
            started = ray.init(address="local", include_dashboard=False, **settings)
            _keep_token_private()
            return started
        except Exception as error:  # Ray has no other kind for it
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    raise WorkFailedError(
        f"Ray did not start within 30 s, {STARTS} times in a row: the machine is too busy. Try again when it has "
        "less to do"
    )


def _keep_token_private() -> None:
    """Ray leaves the token that it makes readable for all users of the machine, who could run anything by it."""
    token = Path("~/.ray/auth_token").expanduser()
    with suppress(OSError):  # none was made, or it is another user's
        token.chmod(token.stat().st_mode & 0o700)


@contextmanager
def _terminated_by_signal() -> Iterator[None]:
    """Raise Terminated in the block when SIGTERM comes; Ray's own handler would leave with status 15."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears of signals
        return
    came = []

    def terminate(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        if came:
            raise Terminated from None  # where Ray waits, it makes a plain KeyboardInterrupt of it
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def silent_on_own_kills() -> Iterator[None]:
    """Keep off the terminal what Ray says of tasks whose actor was ended from here, as Ray Data does when it is left.

    It announces that they will be tried again, which they never are. Of a worker that ended otherwise, as for want of
    memory, it still speaks.
    """
    from ray._private import worker

    say = worker.print_to_stdstream

    def say_others(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        if not any(_OWN_KILL in line for line in data["lines"]):
            say(data, ignore_prefix)

    worker.print_to_stdstream = say_others
    try:
        yield
    finally:
        worker.print_to_stdstream = say


def _is_refused(error: Exception) -> bool:
    """Whether somebody listens and did not let us in."""
    return isinstance(error, ConnectionError) and not isinstance(error, NobodyListensError)


def _require_listener(address: str) -> None:
    """Raise NobodyListensError if nobody listens at a cluster's address: Ray would try for minutes, without a word."""
    try:
        if address == "auto":
            # Of the last `ray start` on this machine, which has left its note where it was killed (Ray 2.60).
            from ray._private import services

            address = services.canonicalize_bootstrap_address(address) or ""
        found = re.fullmatch(r"(?:ray://)?(?P<host>[^/:]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})", address)
        if found is None:
            return  # local, or a kind that Ray knows better
        place = (found["host"].strip("[]"), int(found["port"]))
        socket.create_connection(place, timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise NobodyListensError(f"{address}: {error}") from error


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
    alive = living()
    return Resources(tuple(Node.of(machine) for machine in (*alive, *coming(alive))))
