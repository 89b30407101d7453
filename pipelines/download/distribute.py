"""Ray's part of `download`: one task an attempt, as many at once as wanted, begun as the schedule says."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from tqdm import tqdm

from pipelines.download.attempt import Fetched, StorageError, VideoAttempt
from pipelines.download.config import DownloadConfig
from pipelines.download.reasons import Refused
from pipelines.download.schedule import Schedule

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
    line: "tqdm[None]",
) -> None:
    """Attempt the schedule's videos on the connected cluster until none is left that may begin.

    `ended` is told of every attempt, in this process. A worker that dies fails its attempt only. Raises
    StorageError as soon as one attempt does.
    """
    task = ray.remote(_attempt).options(num_cpus=CPUS_AN_ATTEMPT, max_retries=0, scheduling_strategy="SPREAD")
    shared = ray.put(attempt)
    limit_s = attempt.config.attempt_minutes_limit * 60
    running: dict[Any, tuple[str, float]] = {}
    overdue: set[Any] = set()
    try:
        while running or schedule.wait_seconds() < math.inf:
            while len(running) < attempt.config.concurrency and (video_id := schedule.start()):
                running[task.remote(shared, video_id)] = (video_id, time.monotonic() + limit_s)
            full = len(running) == attempt.config.concurrency
            wait_s = POLL_SECONDS if full else min(schedule.wait_seconds(), POLL_SECONDS)
            for reference in _wait(list(running), wait_s):
                video_id, _ = running.pop(reference)
                ended(video_id, _outcome(reference, attempt.config, reference in overdue))
            for reference, (_, deadline) in running.items():
                if time.monotonic() > deadline and reference not in overdue:
                    overdue.add(reference)
                    ray.cancel(reference, force=True)
            line.set_postfix({"now": len(running)}, refresh=False)
            line.refresh()
    finally:
        for reference in running:
            with suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=True)


def _attempt(attempt: VideoAttempt, video_id: str) -> Fetched | Refused:
    return attempt.run(video_id)


def _wait(running: list[Any], seconds: float) -> list[Any]:
    """Attempts that are over, waiting at most `seconds` for the first."""
    if not running:
        time.sleep(seconds)
        return []
    over, _ = ray.wait(running, timeout=seconds)
    return list(over)


def _outcome(reference: Any, config: DownloadConfig, overdue: bool) -> Fetched | Refused:
    try:
        outcome: Fetched | Refused = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, StorageError):
            raise error.cause from None
        raise
    except _DEATHS:
        if overdue:
            return Refused("timed_out", f"not done after {config.attempt_minutes_limit:g} minutes")
        return Refused("worker_died", "the process that downloaded it died")
    return outcome
