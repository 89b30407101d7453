"""How shards are spread over cores."""

import pytest

from pipelines.preparation.distribute import cores_a_shard, waves


@pytest.mark.parametrize(
    ("shards", "nodes", "expected"),
    [
        pytest.param(1, [2], 2, id="one-shard-takes-the-laptop"),
        pytest.param(2, [2], 1, id="as-many-shards-as-cores"),
        pytest.param(7, [2], 2, id="few-shards"),
        pytest.param(8, [2], 1, id="many-shards"),
        pytest.param(20, [16, 8], 8, id="smallest-node"),
        pytest.param(1000, [16, 16], 1, id="cluster"),
        pytest.param(3, [0, 4], 4, id="head-without-cores"),
        pytest.param(3, [0], 1, id="no-cores-yet"),
    ],
)
def test_cores_a_shard(shards, nodes, expected):
    assert cores_a_shard(shards, nodes) == expected


@pytest.mark.parametrize(
    ("shards", "nodes", "sizes"),
    [(0, [2], []), (999, [2], [999]), (2500, [2], [1000, 1000, 500]), (10_000, [64, 64], [6400, 3600])],
)
def test_a_plan_goes_to_ray_in_lots_that_keep_all_cores_at_work(shards, nodes, sizes):
    plan = list(range(shards))
    lots = list(waves(plan, nodes))
    assert [len(lot) for lot in lots] == sizes
    assert [shard for lot in lots for shard in lot] == plan
