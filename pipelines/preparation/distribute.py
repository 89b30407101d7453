"""Ray's part of `prepare`: tasks that make shards, and a tally of clips while they run."""

import json
import logging
import math
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import ray
import ray.data
from ray.data.block import BlockAccessor

from pipelines.corpus.failures import Rejected
from pipelines.errors import StorageError
from pipelines.placement import Machine, await_machine, demand, expected, label_selector, machines
from pipelines.preparation.plan import ShardPlan
from pipelines.preparation.shard_task import ShardTask
from pipelines.preparation.tally import Tally
from pipelines.progress import progress_line
from pipelines.ray_actors import beside_driver

# What cores that wait cost, in parts of a shard's time on one core: a task's start, its last clip alone and the disk;
# and at the end shards on one core each, of which the largest is done last.
TASK_IDLE, UNEVEN_END = 0.01, 0.02
# Shards that a task on several cores makes, its ffmpegs already at the next one while one is published.
SHARDS_A_TASK = 4
# Shards that Ray Data is given at once: so many, and enough that few cores wait for the last ones of each lot.
SHARDS_A_WAVE, SHARDS_A_CORE = 1000, 50
# That the tally hears from all workers together: each call costs it half a millisecond.
REPORTS_A_SECOND = 500
# Ray begins a shard anew whenever its worker died, for ever on a machine that is too small: then one clip at a time
# takes less memory, and at last a message helps more.
BEGINNINGS_AT_FULL_WIDTH = 3
MOST_BEGINNINGS = 10


def cores_a_task(shards: int, node_cores: Sequence[int]) -> int:
    """How many cores a task asks for and ffmpegs it runs at once, so that the last shard is done soonest.

    Shards are taken for about equally long. With many shards that is one core each; with few, a task takes several.
    """
    nodes = [count for count in node_cores if count > 0] or [1]

    def duration(cores: int) -> float:
        rounds = math.ceil(shards / sum(count // cores for count in nodes))
        idle = UNEVEN_END if cores == 1 else math.ceil(rounds / SHARDS_A_TASK) * TASK_IDLE
        return rounds / cores + idle

    return min(range(1, min(nodes) + 1), key=duration)


def tasks(
    pending: Sequence[ShardPlan], node_cores: Sequence[int], cores: int
) -> Iterator[Sequence[ShardPlan]]:
    """The shards of each task: one alone on its core, or up to SHARDS_A_TASK one behind the other."""
    at_once = max(1, sum(count // cores for count in node_cores))
    first = 0
    while left := len(pending) - first:
        size = 1 if cores == 1 else min(SHARDS_A_TASK, math.ceil(left / at_once))
        for _ in range(at_once):
            if part := pending[first : first + size]:
                yield part
            first += len(part)


def require_ray() -> None:
    """Raise RuntimeError unless this process is connected to Ray."""
    if not ray.is_initialized():
        raise RuntimeError(
            "prepare() needs Ray: call ray.init() before, or pass a context that does as cluster"
        )


def run_shards(
    task: ShardTask,
    pending: Sequence[ShardPlan],
    done: Counter[str],
    show: bool,
    made: Callable[[Sequence[str], Counter[str]], None],
    leave_cpus: int = 0,
) -> None:
    """Publish all `pending` shards on the connected cluster.

    `done` are the clips of shards published before (the key "" counts those written, others the reasons of
    those that failed), which the progress line begins with. `made` is called after each task with the names of its
    shards and the same counts, and may raise to end the run. So many CPUs as `leave_cpus` are left to other work.
    A worker that dies is replaced and its shard begun anew, a few times; any other error ends the run, with what is
    published kept: StorageError where a disk or server failed.
    """
    tally: Any = ray.remote(Tally).options(**beside_driver(), max_restarts=-1, max_task_retries=-1).remote()
    finished = Counter(done)
    total = sum(len(plan.clips) for plan in pending) + done.total()

    def counts() -> Counter[str] | None:
        with suppress(ray.exceptions.RayError):  # the tally's process was lost: go on without figures
            found: Counter[str] = ray.get(tally.counts.remote())
            return done + found
        return None

    await_machine("prepare", useful_cpus=len(pending))
    with quiet_ray_data(), progress_line(counts, done, total, sys.stderr if show else None):
        for some in waves(pending, _cores(expected("prepare"), leave_cpus)):
            # Closed, or the tasks would go on for as long as an error raised here is remembered.
            with closing(_published(task, some, tally, leave_cpus)) as rows:
                for row in rows:
                    if row["failed"]:
                        raise StorageError(row["failed"])
                    finished.update(json.loads(row["reasons"]))
                    made(json.loads(row["shards"]), finished)


def waves(pending: Sequence[ShardPlan], node_cores: Sequence[int]) -> Iterator[Sequence[ShardPlan]]:
    """Parts of the plan: Ray Data holds all of what it is given, pickled, and a plan may be larger than memory."""
    size = max(SHARDS_A_WAVE, SHARDS_A_CORE * sum(node_cores))
    for first in range(0, len(pending), size):
        yield pending[first : first + size]


def _published(
    task: ShardTask, pending: Sequence[ShardPlan], tally: Any, leave_cpus: int
) -> Generator[dict[str, Any], None, None]:
    """A row for each task as it is done."""
    node_cores = _cores(machines("prepare"), leave_cpus)
    cores = cores_a_task(len(pending), node_cores)
    items = [{"plans": pickle.dumps(plans)} for plans in tasks(pending, node_cores, cores)]
    shards = ray.data.from_items(items, override_num_blocks=len(items))
    options = shards.context.execution_options
    # Otherwise Ray Data asks the autoscaler for more processors than it may start, of whatever machine.
    options.resource_limits = ray.data.ExecutionResources.for_limits(
        cpu=sum(_cores(expected("prepare"), leave_cpus))
    )
    options.label_selector = label_selector("prepare")
    worker = _Worker(task, cores, tally, report_seconds=sum(node_cores) / REPORTS_A_SECOND)
    # Not iter_rows: that waits in threads of its own, where neither Ctrl-C nor the end of a caller's thread is heard.
    bundles = shards.map(worker, num_cpus=cores, resources=demand("prepare")).iter_internal_ref_bundles()
    try:
        for bundle in bundles:
            for block in ray.get(bundle.block_refs):
                yield from BlockAccessor.for_block(block).iter_rows(public_row_format=True)
    finally:
        del bundles  # which ends the tasks


def _cores(some: Sequence[Machine], leave_cpus: int) -> list[int]:
    """CPUs of each machine, but for those that are left to others: of each machine as many."""
    left = math.ceil(leave_cpus / len(some)) if some else 0
    return [max(0, int(machine["CPU"]) - left) for machine in some]


class _Worker:
    """The function Ray Data maps over tasks."""

    def __init__(self, task: ShardTask, cores: int, tally: Any, report_seconds: float) -> None:
        self._task, self._cores, self._tally = task, cores, tally
        self._report_seconds = report_seconds

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        plans: Sequence[ShardPlan] = pickle.loads(row["plans"])  # made by the driver, above
        reports = _Reports(self._tally, self._report_seconds)
        reasons: Counter[str] = Counter()

        def progress(clip_id: str, rejected: Rejected | None) -> None:
            reason = rejected.reason if rejected else ""
            reasons.update([reason])
            reports.add(clip_id, reason)

        try:
            left = []
            for plan in plans:
                if outcome := self._task.published(plan):  # before the worker that made it died
                    reasons.update(outcome.reasons())
                else:
                    left.append(plan)
            if left:
                self._task.run(left, self._ffmpegs_at_once(left[0].name), progress)
        except OSError as error:
            # Told, not raised: Ray Data would hide it in a text of its own, and try again what looks like a network's.
            return {"shards": "[]", "reasons": "{}", "failed": str(error)}
        reports.finish()
        made = json.dumps([plan.name for plan in plans])
        return {"shards": made, "reasons": json.dumps(reasons), "failed": ""}

    def _ffmpegs_at_once(self, shard: str) -> int:
        beginnings = ray.get(self._tally.begin.remote(shard))
        if beginnings > MOST_BEGINNINGS:
            raise RuntimeError(
                f"{shard}: its worker was killed {MOST_BEGINNINGS} times: the machine is short of memory. Use "
                f"fewer of its cores or a lower decoder_gb_limit, and run the command again"
            )
        return self._cores if beginnings <= BEGINNINGS_AT_FULL_WIDTH else 1


class _Reports:
    """What a task tells the tally of its clips, every `seconds` at most: with many workers, several clips at once."""

    def __init__(self, tally: Any, seconds: float) -> None:
        self._tally, self._seconds = tally, seconds
        self._lock = threading.Lock()
        self._clips: dict[str, str] = {}
        self._calls: list[Any] = []
        self._told = -math.inf

    def add(self, clip_id: str, reason: str) -> None:
        """From any thread."""
        with self._lock:
            self._clips[clip_id] = reason
            if time.monotonic() - self._told >= self._seconds:
                self._tell()

    def finish(self) -> None:
        """Tell the rest, and wait until the tally has heard all."""
        with self._lock:
            if self._clips:
                self._tell()
            ray.get(self._calls)

    def _tell(self) -> None:
        self._calls.append(self._tally.add.remote(self._clips))
        self._clips, self._told = {}, time.monotonic()


@contextmanager
def quiet_ray_data() -> Iterator[None]:
    """One progress line is enough, and shards that take long are no sign of trouble."""
    context = ray.data.DataContext.get_current()
    settings = {
        "enable_progress_bars": False,
        "enable_operator_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,
    }
    before = {name: getattr(context, name) for name in settings if hasattr(context, name)}
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        for name in before:
            setattr(context, name, settings[name])
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)
