"""What scheduling a million clips costs: the plan, Ray Data, the tally and Ray's head, on a simulated cluster.

    python -m benchmarks.cluster_scheduling [--clips 1000000] [--nodes 32] [--cpus 1] [--seconds S] [--out FILE]

Nodes are raylets of this machine (ray.cluster_utils.Cluster), with as many processors as they are told to have, and a
head without any, where the driver and the tally are, as on a cluster of cluster.yaml. What runs is the real path: a
metadata file that is read, digested and planned, `run_shards` with its waves, tasks, tally and progress line. Left out
is what a shard is made of: a stand-in tells the tally of each clip and waits, so there are no videos, ffmpegs, tars or
records, no requests to a store, no network between nodes, and no large objects. The limits of one process that all
clips or shards pass (driver, tally, GCS) are what it finds.

All nodes share this machine's processors: shards by wall time say little of a real cluster. So each part's processor
time is read from /proc, and what it costs by shard or clip says at which rate one core of the head is full. As a shard
takes a core `--core-seconds` a clip, that gives how many cores one head can keep at work. Prints JSON.
"""

import argparse
import json
import os
import pickle
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import machine
from benchmarks.plan_clips import write_metadata
from benchmarks.process_use import ProcessUse
from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.preparation.plan import ShardPlan, plan_digest, plan_shards
from pipelines.preparation.shard_task import Progress, ShardTask

STORE_MB = 100
"""Object store of a node; its tasks hold a few kilobytes."""
HEAD_STORE_MB = 2000
CORE_SECONDS_A_CLIP = 1.02
"""171.5 frames, the mean of the metadata made here, at the rate of docs/experiments.md (0.955 of ffmpeg's speed)."""
STEADY = (0.1, 0.9)
"""Parts of the work between which the rate is taken: start and end are others' business."""


class _CutShort(Exception):
    """Enough was seen."""


@dataclass(frozen=True, kw_only=True)
class StandIn(ShardTask):
    """Makes nothing: tells of each clip and takes its time."""

    shard_seconds: float

    def published(self, plan: ShardPlan) -> None:
        return None

    def run(self, plans: Sequence[ShardPlan], threads: int, progress: Progress) -> None:
        for plan in plans:
            time.sleep(self.shard_seconds)
            for clip in plan.clips:
                progress(clip.clip_id, None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=32)
    parser.add_argument("--cpus", type=int, default=1, help="of a node, as Ray is told")
    parser.add_argument("--shard-seconds", type=float, default=0.0, help="that a stand-in waits")
    parser.add_argument("--core-seconds", type=float, default=CORE_SECONDS_A_CLIP, help="of a real clip")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="after which scheduling is cut short"
    )
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    report = {"benchmark": "cluster_scheduling", "machine": machine(os.cpu_count() or 1)}
    plans, report["plan"] = planned(options.clips)
    with cluster(options.nodes, options.cpus) as started:
        report["cluster"] = {"nodes": options.nodes, "cpus_a_node": options.cpus, **started}
        report["schedule"] = schedule(plans, options.shard_seconds, options.core_seconds, options.seconds)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def planned(clips: int) -> tuple[list[ShardPlan], dict[str, Any]]:
    """The plan, as `prepare` makes it, with seconds and memory."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.csv"
        write_metadata(metadata, clips)
        times = [time.perf_counter()]
        columns = ClipColumns.of(read_metadata(metadata, "vox", metadata.parent).clips)
    times.append(time.perf_counter())
    plan_digest(columns.digest, PrepareConfig())
    times.append(time.perf_counter())
    plans = plan_shards(columns, PrepareConfig())
    times.append(time.perf_counter())
    sample = plans[:: max(1, len(plans) // 100)]
    return plans, {
        "clips": len(columns),
        "shards": len(plans),
        "read_s": round(times[1] - times[0], 2),
        "digest_s": round(times[2] - times[1], 2),
        "plan_s": round(times[3] - times[2], 2),
        "driver_peak_mb": ProcessUse.peak_mb(os.getpid()),
        "pickled_bytes_a_clip": round(sum(len(pickle.dumps(p)) for p in sample) / sum(len(p.clips) for p in sample)),
    }  # fmt: skip


@contextmanager
def cluster(nodes: int, cpus: int) -> Any:
    """A head that schedules no work and `nodes` others."""
    import ray
    from ray.cluster_utils import Cluster

    began = time.perf_counter()
    os.environ["REPORTER_UPDATE_INTERVAL_MS"] = "600000"  # each node's agent measures the same machine
    head = {
        "num_cpus": 0,
        "include_dashboard": False,
        "object_store_memory": HEAD_STORE_MB * 10**6,
        # Where a hundred processes share two cores, workers look idle, are ended, and are missed at once; and each
        # raylet would look through all processes four times a second.
        "_system_config": {"kill_idle_workers_interval_ms": 0, "memory_monitor_refresh_ms": 0},
    }
    simulated = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            simulated.add_node(wait=False, num_cpus=cpus, object_store_memory=STORE_MB * 10**6)
        simulated.wait_for_nodes(timeout=600)
        ray.init(address=simulated.address, logging_level="ERROR", log_to_driver=False)
        yield {"start_s": round(time.perf_counter() - began, 1)}
        ray.shutdown()
    finally:
        simulated.shutdown()


def schedule(
    plans: Sequence[ShardPlan], shard_seconds: float, core_seconds: float, limit: float
) -> dict[str, Any]:
    """Run all shards; rates, processor time and memory by part."""
    from pipelines.preparation.distribute import run_shards

    task = StandIn(
        videos=Path("/nowhere"),
        out=Path("/nowhere"),
        config=PrepareConfig(),
        plan_digest="",
        producer="",
        shard_seconds=shard_seconds,
    )
    done: list[tuple[float, int]] = []
    ProcessUse.forget_peak()
    use = ProcessUse(os.getpid())
    over = threading.Event()
    sampler = threading.Thread(target=lambda: _sample(use, over), daemon=True)
    sampler.start()
    began = time.perf_counter()

    def made(_: Sequence[str], counts: Counter[str]) -> None:
        done.append((time.perf_counter() - began, counts.total()))
        if done[-1][0] > limit:
            raise _CutShort

    with suppress(_CutShort):
        run_shards(task, plans, done=Counter(), show=True, made=made)
    seconds = time.perf_counter() - began
    over.set()
    sampler.join()
    clips, shards = done[-1][1], len(done)
    if seconds < limit and clips != sum(len(plan.clips) for plan in plans):
        sys.exit(f"{clips} clips came back of {sum(len(plan.clips) for plan in plans)}")
    return {
        "clips": clips,
        "shards": shards,
        "seconds": round(seconds, 1),
        "first_shard_s": round(done[0][0], 1),
        **rates(done, clips, shards),
        "processor_s": {name: round(spent, 1) for name, spent in use.seconds().items()},
        "most_mb": use.most_mb(),
        "processes": use.processes(),
        "one_core_of_the_head": limits(use.seconds(), clips, shards, core_seconds),
    }


def rates(done: Sequence[tuple[float, int]], clips: int, shards: int) -> dict[str, float]:
    """Clips and shards a second of wall time, between the first and the last tenth."""
    first, last = (next(row for row in done if row[1] >= part * clips) for part in STEADY)
    rate = (last[1] - first[1]) / (last[0] - first[0])
    return {"clips_a_second": round(rate), "shards_a_second": round(rate * shards / clips, 1)}


def limits(
    seconds: dict[str, float], clips: int, shards: int, core_seconds: float
) -> dict[str, dict[str, float]]:
    """What one core that does nothing else could serve: each part's rates, and preparing cores at that rate."""
    found = {}
    for name in ("driver", "gcs", "tally", "head raylet"):
        if spent := seconds.get(name, 0.0):
            found[name] = {
                "ms_a_shard": round(spent / shards * 1e3, 2),
                "shards_a_second": round(shards / spent, 1),
                "clips_a_second": round(clips / spent),
                "preparing_cores": round(clips / spent * core_seconds),
            }
    return found


def _sample(use: ProcessUse, over: threading.Event) -> None:
    use.look()
    while not over.wait(2.0):
        use.look()
    use.look()


if __name__ == "__main__":
    main()
