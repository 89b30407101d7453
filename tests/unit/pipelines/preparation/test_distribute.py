"""How shards are spread over cores."""

import pytest

from pipelines.preparation.distribute import cores_a_shard


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
