"""Ray's part of `download`: one task an attempt, as many at once as wanted, begun as the schedule says."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import ray

from pipelines.download.attempt import Fetched, VideoAttempt
from pipelines.download.config import DownloadConfig
from pipelines.download.reasons import Refused
from pipelines.download.schedule import Schedule
from pipelines.errors import StorageError
from pipelines.placement import demand

POLL_SECONDS = 0.5
# Downloads wait for the network rather than compute; ten share a core.
CPUS_AN_ATTEMPT = 0.1
_DEATHS = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.TaskCancelledError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
)


def run_attempts(
    attempt: VideoAttempt,
    schedule: Schedule,
    ended: Callable[[str, Fetched | Refused], None],
    at_work: Callable[[int], None],
) -> None:
    """Attempt the schedule's videos on the connected cluster until none is left that may begin.

    `ended` is told of every attempt, and `at_work` how many there are just now, in this process. A worker that dies
    fails its attempt only. Raises StorageError as soon as one attempt does. The time limit of an
    attempt counts from when a worker begins it.
    """
    submit = ray.remote(_attempt).options(
        num_cpus=CPUS_AN_ATTEMPT,
        resources=demand("prepare"),
        max_retries=0,
        scheduling_strategy="SPREAD",
        num_returns="streaming",
    )
    shared = ray.put(attempt)
    limit_s = attempt.config.attempt_minutes_limit * 60
    running: dict[Any, str] = {}
    deadlines: dict[Any, float] = {}
    overdue: set[Any] = set()
    try:
        while running or schedule.wait_seconds() < math.inf:
            while len(running) < attempt.config.concurrency and (video_id := schedule.start()):
                running[submit.remote(shared, video_id)] = video_id
            full = len(running) == attempt.config.concurrency
            wait_s = POLL_SECONDS if full else min(schedule.wait_seconds(), POLL_SECONDS)
            for task in _wait(list(running), wait_s):
                outcome = _outcome(task, attempt.config, task in overdue)
                if outcome is None:
                    deadlines[task] = time.monotonic() + limit_s
                else:
                    deadlines.pop(task, None)
                    ended(running.pop(task), outcome)
            for task, deadline in deadlines.items():
                if time.monotonic() > deadline and task not in overdue:
                    overdue.add(task)
                    ray.cancel(task, force=True)
            at_work(len(running))
    finally:
        for task in running:
            with suppress(ray.exceptions.RayError):
                ray.cancel(task, force=True)


def _attempt(attempt: VideoAttempt, video_id: str) -> Iterator[Fetched | Refused | None]:
    """None as it begins, then the outcome."""
    yield None
    yield attempt.run(video_id)


def _wait(running: list[Any], seconds: float) -> list[Any]:
    """Attempts that have begun or are over, waiting at most `seconds` for the first."""
    if not running:
        time.sleep(seconds)
        return []
    over, _ = ray.wait(running, timeout=seconds)
    return list(over)


def _outcome(task: Any, config: DownloadConfig, overdue: bool) -> Fetched | Refused | None:
    """What a task says next: None that it has begun, or how it ended."""
    try:
        outcome: Fetched | Refused | None = ray.get(next(task))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, StorageError):
            raise error.cause from None
        raise
    except _DEATHS:
        if overdue:
            return Refused("timed_out", f"not done after {config.attempt_minutes_limit:g} minutes")
        return Refused("worker_died", "the process that downloaded it died")
    return outcome
