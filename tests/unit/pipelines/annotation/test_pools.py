"""How processors and GPUs are shared out."""

import pytest

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.pools import Node, Pools, plan_apart, plan_pools
from pipelines.errors import InputError


@pytest.mark.parametrize(
    ("settings", "videos", "cpus", "gpus", "expected"),
    [
        pytest.param({}, 9, 2, 0, Pools(1, 1), id="laptop"),
        pytest.param({}, 9, 16, 0, Pools(4, 12), id="machine"),
        pytest.param({}, 1, 16, 0, Pools(1, 15), id="one-video"),
        pytest.param({"detectors": 2}, 9, 16, 0, Pools(9, 2), id="as-told"),
        pytest.param({"detector_gpus": 1}, 99, 64, 8, Pools(56, 8), id="gpus"),
        pytest.param({"detector_gpus": 0.25}, 99, 16, 1, Pools(12, 4), id="shared-gpu"),
        pytest.param({"detector_gpus": 0.4}, 9, 16, 2, Pools(9, 4), id="no-share-of-two-gpus"),
        pytest.param({"detector_gpus": 2}, 9, 16, 5, Pools(9, 2), id="two-gpus-each"),
        pytest.param({"detector_gpus": 1}, 99, 4, 8, Pools(1, 3), id="few-processors"),
    ],
)
def test_plan_pools(settings, videos, cpus, gpus, expected):
    assert plan_pools(AnnotateConfig(**settings), videos, [Node(cpus, gpus)]) == expected


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "message"),
    [
        ({"detector_gpus": 1}, 8, 0, "detector_gpus = 1, but no machine of the cluster has more than 0 GPUs"),
        ({}, 1, 0, "needs two"),
        ({"detectors": 8}, 8, 0, "has room for 7"),
    ],
)
def test_what_does_not_fit_is_said(settings, cpus, gpus, message):
    with pytest.raises(InputError, match=message):
        plan_pools(AnnotateConfig(**settings), 9, [Node(cpus, gpus)])


def test_each_machine_is_planned_by_itself():
    split = [Node(cpus=8, gpus=1), Node(cpus=8, gpus=1)]
    assert plan_pools(AnnotateConfig(detector_gpus=0.6), 9, split) == Pools(decoders=9, detectors=2)
    with pytest.raises(InputError, match="no machine of the cluster has more than 1 GPUs"):
        plan_pools(AnnotateConfig(detector_gpus=2), 9, split)
    apart = [Node(cpus=1, gpus=4), Node(cpus=16)]
    assert plan_pools(AnnotateConfig(detector_gpus=1), 99, apart) == Pools(decoders=16, detectors=1)


@pytest.mark.parametrize(
    ("settings", "videos", "expected"),
    [
        pytest.param({}, 99, Pools(decoders=12, detectors=6), id="all-of-both"),
        pytest.param({}, 5, Pools(decoders=5, detectors=6), id="few-videos"),
        pytest.param({"detector_gpus": 0.5}, 99, Pools(decoders=12, detectors=4), id="gpus"),
        pytest.param({"detectors": 2}, 99, Pools(decoders=12, detectors=2), id="asked"),
    ],
)
def test_plan_apart(settings, videos, expected):
    decoding, detecting = [Node(8), Node(4)], [Node(4, 1), Node(2, 1)]
    assert plan_apart(AnnotateConfig(**settings), videos, decoding, detecting) == expected


def test_a_detector_that_fits_nowhere_is_refused_where_machines_are_apart():
    with pytest.raises(InputError, match="no machine of the cluster has more than 0 GPUs"):
        plan_apart(AnnotateConfig(detector_gpus=1), 9, [Node(8, 1)], [Node(4)])
