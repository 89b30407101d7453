"""How many trials run at once, and on what."""

from dataclasses import replace

import pytest

from orchestration.cluster import Node, Resources
from orchestration.experiment import ComputeConfig
from orchestration.sweep.slots import ROUNDS, Slots, find_slots
from pipelines.errors import InputError
from tests.small_study import small_experiment


def experiment(workers: int = 1, device: str = "auto"):
    base = small_experiment()
    schedule = replace(base.schedule, workers=workers, batch_size=8 * workers)
    return replace(base, schedule=schedule, compute=ComputeConfig(device=device))


@pytest.mark.parametrize(
    ("nodes", "workers", "trials", "concurrent", "count", "share"),
    [
        pytest.param([Node(2, 0)], 1, 20, 0, 2, {"CPU": 1}, id="laptop"),
        pytest.param([Node(2, 0)], 1, 4, 0, 1, {"CPU": 2}, id="few-trials-follow-one-another"),
        pytest.param([Node(2, 0)], 1, 4, 2, 2, {"CPU": 1}, id="unless-told"),
        pytest.param([Node(64, 0)], 1, 20, 0, 20 // ROUNDS, {"CPU": 12}, id="large-machine"),
        pytest.param([Node(2, 0)], 1, 1, 0, 1, {"CPU": 2}, id="one-trial"),
        pytest.param([Node(2, 0)], 2, 20, 0, 1, {"CPU": 1}, id="two-workers"),
        pytest.param([Node(8, 0), Node(4, 0)], 2, 20, 3, 3, {"CPU": 2}, id="uneven-nodes"),
        pytest.param([Node(32, 4)], 1, 20, 0, 4, {"CPU": 4, "GPU": 1}, id="a-gpu-each"),
        pytest.param([Node(32, 4)], 2, 20, 0, 2, {"CPU": 4, "GPU": 1}, id="two-gpus-each"),
        pytest.param([Node(32, 4)], 1, 3, 0, 3, {"CPU": 4, "GPU": 1}, id="fewer-trials-than-gpus"),
        pytest.param([Node(32, 4), Node(32, 4)], 1, 20, 0, 8, {"CPU": 4, "GPU": 1}, id="two-machines"),
        pytest.param([Node(32, 4)], 1, 20, 2, 2, {"CPU": 4, "GPU": 1}, id="fewer-than-there-is-room-for"),
    ],
)
def test_places(nodes, workers, trials, concurrent, count, share):
    found = find_slots(experiment(workers), Resources(tuple(nodes)), trials, concurrent)
    assert found == Slots(count=count, share=share, workers=workers)


@pytest.mark.parametrize(
    ("nodes", "workers", "concurrent", "words"),
    [
        ([Node(2, 0)], 1, 3, ["--concurrent 3", "2 CPUs", "2 or less"]),
        ([Node(16, 2)], 2, 2, ["--concurrent 2", "2 GPUs", "2 workers", "1 or less", "--schedule.workers"]),
        ([Node(1, 0)], 2, 0, ["schedule.workers = 2", "1 CPUs"]),
    ],
)
def test_too_many_at_once_are_refused_with_the_remedy(nodes, workers, concurrent, words):
    with pytest.raises(InputError) as raised:
        find_slots(experiment(workers), Resources(tuple(nodes)), 20, concurrent)
    assert [word for word in words if word not in str(raised.value)] == []


def test_one_worker_trains_in_the_trials_process_and_several_ask_for_themselves():
    one = Slots(count=2, share={"CPU": 3}, workers=1)
    assert (one.reserved, one.placement.here, one.placement.share) == ({"CPU": 3}, True, {"CPU": 3})
    two = Slots(count=2, share={"CPU": 3}, workers=2)
    assert (two.reserved, two.placement.here, two.placement.share) == ({"memory": 1.0}, False, {"CPU": 3})
