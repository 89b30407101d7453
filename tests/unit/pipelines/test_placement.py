"""Which machines suit which work, by what they offer and what the environment asks for."""

import pytest

from pipelines import placement
from pipelines.placement import await_machine, demand, kind, machines, suits

CPU_NODE = {"CPU": 8.0, "memory": 1e10, "cpu_node": 1000.0}
GPU_NODE = {"CPU": 4.0, "GPU": 2.0, "gpu_node": 1000.0}
HEAD = {"memory": 1e9, "node:__internal_head__": 1.0}


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    monkeypatch.setattr(placement, "living", lambda: [HEAD, CPU_NODE, GPU_NODE])
    for variable in placement.VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def test_without_a_word_all_work_is_done_anywhere_but_on_machines_without_processors():
    assert (kind("prepare"), demand("prepare"), demand("train")) == ("", {}, {})
    assert machines("prepare") == machines("train") == [CPU_NODE, GPU_NODE]


def test_each_work_has_its_machines(cluster):
    cluster.setenv("LIA_PREPARE_ON", "cpu_node")
    cluster.setenv("LIA_TRAIN_ON", "gpu_node")
    assert machines("prepare") == [CPU_NODE]
    assert machines("train") == [GPU_NODE]
    assert demand("train") == {"gpu_node": 0.001}


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        pytest.param({"CPU": 1, "x": 1}, True, id="offers"),
        pytest.param({"CPU": 1}, False, id="offers-not"),
        pytest.param({"CPU": 1, "x": 0}, False, id="offers-none"),
        pytest.param({"x": 1}, False, id="no-processor"),
    ],
)
def test_suits(machine, expected, cluster):
    cluster.setenv("LIA_TRAIN_ON", "x")
    assert suits(machine, "train") is expected


class Ray:
    """Stands for Ray; the task that waits for a machine brings one."""

    def __init__(self, arrive) -> None:
        self.asked: list[dict] = []
        self._arrive = arrive

    def remote(self, function):
        return self

    def options(self, **wanted):
        self.asked.append(wanted)
        ray = self

        class Task:
            def remote(self):
                ray._arrive()

        return Task()

    def get(self, _):
        return None


@pytest.mark.parametrize(
    ("gpus", "asked"),
    [(0, {"num_cpus": 1, "num_gpus": 0, "resources": {"late_node": 0.001}}), (1, None)],
    ids=["processor", "gpu"],
)
def test_a_machine_that_is_not_there_yet_is_asked_for_and_waited_for(gpus, asked, cluster, capsys):
    late = {"CPU": 2.0, "GPU": 1.0, "late_node": 1000.0}
    ray = Ray(lambda: cluster.setattr(placement, "living", lambda: [HEAD, late]))
    cluster.setitem(__import__("sys").modules, "ray", ray)
    cluster.setenv("LIA_TRAIN_ON", "late_node")
    assert await_machine("train", gpus=gpus) == [late]
    assert ray.asked == [asked or {"num_cpus": 1, "num_gpus": 1, "resources": {"late_node": 0.001}}]
    said = capsys.readouterr().err
    assert (
        said
        == "waiting for a machine that offers late_node (LIA_TRAIN_ON); none of the 3 of the cluster is one\n"
    )
    assert await_machine("train", gpus=gpus) == [late]
    assert capsys.readouterr().err == ""
