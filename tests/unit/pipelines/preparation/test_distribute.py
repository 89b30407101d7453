"""How shards are spread over cores."""

import json
import math
import pickle
from collections import Counter
from types import SimpleNamespace

import pytest

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.preparation import distribute
from pipelines.preparation.distribute import cores_a_task, tasks, waves
from pipelines.preparation.plan import ShardPlan


@pytest.mark.parametrize(
    ("shards", "nodes", "cores", "shards_a_task"),
    [
        pytest.param(1, [2], 2, [1], id="one-shard-takes-the-laptop"),
        pytest.param(2, [2], 2, [2], id="as-many-shards-as-cores"),
        pytest.param(7, [2], 2, [4, 3], id="few-shards"),
        pytest.param(8, [2], 1, [1] * 8, id="many-shards"),
        pytest.param(20, [16, 8], 8, [4, 4, 4, 3, 3, 2], id="smallest-node"),
        pytest.param(5, [16, 16], 16, [3, 2], id="a-part-for-each-node"),
        pytest.param(1000, [16, 16], 4, [4] * 248 + [1] * 8, id="cluster"),
        pytest.param(1024, [16, 16], 1, [1] * 1024, id="cluster-even"),
        pytest.param(3, [0, 4], 4, [3], id="head-without-cores"),
        pytest.param(3, [0], 1, [1] * 3, id="no-cores-yet"),
    ],
)
def test_shards_a_task(shards, nodes, cores, shards_a_task):
    assert cores_a_task(shards, nodes) == cores
    plan = list(range(shards))
    parts = list(tasks(plan, nodes, cores))
    assert [len(part) for part in parts] == shards_a_task
    assert [shard for part in parts for shard in part] == plan


@pytest.mark.parametrize("cores", [1, 2, 8, 16, 64])
def test_no_core_waits_longer_than_for_a_single_shard(cores):
    """Whatever the number of shards: their tasks, each on the slot that is free first, take no round more."""
    for shards in range(1, 4 * cores + 1):
        width = cores_a_task(shards, [cores])
        slots = [0] * (cores // width)
        for part in tasks(list(range(shards)), [cores], width):
            slots[slots.index(min(slots))] += len(part)
        assert max(slots) == math.ceil(shards / len(slots))


def test_a_task_begun_anew_makes_the_shards_that_are_not_there(monkeypatch):
    """And tells of all of them: the row of the first time was lost with its worker."""
    monkeypatch.setattr(distribute.ray, "get", lambda value: value)
    made = []
    there = {"train-000000": SimpleNamespace(reasons=lambda: Counter({"": 3, "too_short": 1}))}
    task = SimpleNamespace(
        published=lambda plan: there.get(plan.name),
        run=lambda plans, threads, progress: (
            made.extend(plan.name for plan in plans),
            progress("clip", None),
        ),
    )
    tally = SimpleNamespace(
        begin=SimpleNamespace(remote=lambda shard: 1), add=SimpleNamespace(remote=lambda clips: None)
    )
    plans = [ShardPlan(f"train-{number:06d}", ClipColumns.of([])) for number in range(2)]
    row = distribute._Worker(task, 1, tally, report_seconds=0)({"plans": pickle.dumps(plans)})
    assert made == ["train-000001"]
    assert json.loads(row["reasons"]) == {"": 4, "too_short": 1}


@pytest.mark.parametrize(
    ("shards", "nodes", "sizes"),
    [(0, [2], []), (999, [2], [999]), (2500, [2], [1000, 1000, 500]), (10_000, [64, 64], [6400, 3600])],
)
def test_a_plan_goes_to_ray_in_lots_that_keep_all_cores_at_work(shards, nodes, sizes):
    plan = list(range(shards))
    lots = list(waves(plan, nodes))
    assert [len(lot) for lot in lots] == sizes
    assert [shard for lot in lots for shard in lot] == plan


@pytest.mark.parametrize(
    ("report_seconds", "heard"),
    [
        pytest.param(0, [{"a": ""}, {"b": "too_short"}, {"c": ""}], id="few-workers-tell-at-once"),
        pytest.param(3600, [{"a": ""}, {"b": "too_short", "c": ""}], id="many-tell-several-at-once"),
    ],
)
def test_the_tally_hears_of_every_clip_once(monkeypatch, report_seconds, heard):
    monkeypatch.setattr(distribute.ray, "get", lambda value: value)
    told = []
    reports = distribute._Reports(
        SimpleNamespace(add=SimpleNamespace(remote=lambda clips: told.append(clips))), report_seconds
    )
    for clip, reason in (("a", ""), ("b", "too_short"), ("c", "")):
        reports.add(clip, reason)
    reports.finish()
    assert told == heard
