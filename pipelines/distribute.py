"""Ray's part of `prepare`: one task a shard, and a line that counts clips while they run."""

import logging
import pickle
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from pipelines.errors import StorageError
from pipelines.failures import Rejected
from pipelines.plan import ShardPlan
from pipelines.shard_task import ShardTask

# With this many shards a core, giving each shard one core leaves none idle for long at the end.
SHARDS_A_CORE = 4
POLL_SECONDS = 0.5
# Ray begins a shard anew whenever its worker died; with a video that crashes the decoder that would never end.
MOST_BEGINNINGS = 5


def cores_a_shard(shards: int, node_cores: Sequence[int]) -> int:
    """How many ffmpegs a task runs at once, and cores it asks for, so that no core waits for a last shard.

    With many shards one each; with few, a shard takes all cores of the smallest node.
    """
    cores = [count for count in node_cores if count > 0] or [1]
    return 1 if shards >= SHARDS_A_CORE * sum(cores) else min(cores)


def require_ray() -> None:
    """Raise RuntimeError unless this process is connected to Ray."""
    if not ray.is_initialized():
        raise RuntimeError(
            "prepare() needs Ray: call ray.init() before, or pass a context that does as cluster"
        )


def run_shards(task: ShardTask, pending: Sequence[ShardPlan], done: Counter[str], show: bool) -> None:
    """Publish all `pending` shards on the connected cluster.

    `done` are the clips of shards published before (the key "" counts those written, others the reasons of
    those that failed), which the progress line begins with. A worker that dies is replaced and its shard
    begun anew, a few times; any other error ends the run, with what is published kept: StorageError where a disk
    or server failed.
    """
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    cores = cores_a_shard(len(pending), nodes)
    tally = ray.remote(_Tally).options(**beside_driver()).remote()
    with quiet_ray_data(), _progress_line(tally, pending, done, show):
        shards = ray.data.from_items(
            [{"plan": pickle.dumps(plan)} for plan in pending], override_num_blocks=len(pending)
        )
        worker = _Worker(task, cores, tally)
        for row in shards.map(worker, num_cpus=cores).iter_rows():
            if row["failed"]:
                raise StorageError(row["failed"])


def beside_driver() -> dict[str, Any]:
    """Options for a small actor that lives as long as the driver's node: other nodes may come and go."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


class _Tally:
    """What became of the clips so far, by clip id: a shard made twice counts once. And how often it was begun."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._beginnings: Counter[str] = Counter()

    def begin(self, shard: str) -> int:
        self._beginnings[shard] += 1
        return self._beginnings[shard]

    def add(self, clip_id: str, reason: str) -> None:
        self._reasons[clip_id] = reason

    def counts(self) -> Counter[str]:
        return Counter(self._reasons.values())


class _Worker:
    """The function Ray Data maps over shards."""

    def __init__(self, task: ShardTask, cores: int, tally: Any) -> None:
        self._task, self._cores, self._tally = task, cores, tally

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        plan: ShardPlan = pickle.loads(row["plan"])  # made by the driver, above
        if ray.get(self._tally.begin.remote(plan.name)) > MOST_BEGINNINGS:
            raise RuntimeError(
                f"{plan.name}: its worker died {MOST_BEGINNINGS} times: the machine is short of memory, or one "
                f"of the shard's videos crashes the decoder"
            )
        counted = []

        def progress(clip_id: str, rejected: Rejected | None) -> None:
            counted.append(self._tally.add.remote(clip_id, rejected.reason if rejected else ""))

        try:
            self._task.run(plan, self._cores, progress)
        except OSError as error:
            # Told, not raised: Ray Data would hide it in a text of its own, and try again what looks like a network's.
            return {"shard": plan.name, "failed": str(error)}
        ray.get(counted)
        return {"shard": plan.name, "failed": ""}


@contextmanager
def _progress_line(
    tally: Any, pending: Sequence[ShardPlan], done: Counter[str], show: bool
) -> Iterator[None]:
    total = sum(len(plan.clips) for plan in pending) + done.total()
    over = threading.Event()
    with tqdm(total=total, desc="prepare", unit="clip", disable=not show, initial=done.total()) as line:

        def follow() -> None:
            with suppress(ray.exceptions.RayError):  # the tally's node was lost: go on without a line
                while not over.wait(POLL_SECONDS):
                    update()

        def update() -> None:
            counts = done + ray.get(tally.counts.remote())
            line.set_postfix({"failed": counts.total() - counts[""]}, refresh=False)
            line.update(counts.total() - line.n)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
            with suppress(ray.exceptions.RayError):
                update()
        finally:
            over.set()
            follower.join()


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
