"""Which machines suit which work, by what they offer and what the environment asks for."""

from types import SimpleNamespace

import pytest

from pipelines import placement
from pipelines.errors import InputError
from pipelines.placement import LABEL, await_machine, coming, demand, kind, label_selector, machines, suits

CPU_NODE = {"CPU": 8.0, "memory": 1e10, "cpu_node": 1000.0}
GPU_NODE = {"CPU": 4.0, "GPU": 2.0, "gpu_node": 1000.0}
HEAD = {"memory": 1e9, "node:__internal_head__": 1.0}


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    monkeypatch.setattr(placement, "living", lambda: [HEAD, CPU_NODE, GPU_NODE])
    for variable in (*placement.VARIABLES.values(), "RAY_ADDRESS"):
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


LAUNCHED = """
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0, node_config: {}}
  gpu: {resources: {CPU: 8, GPU: 1, train_node: 1000}, max_workers: 3, node_config: {}}
  cpu: {resources: {CPU: 16, prepare_node: 1000}, max_workers: 2, node_config: {}}
"""
GPU, CPU = {"CPU": 8, "GPU": 1, "train_node": 1000}, {"CPU": 16, "prepare_node": 1000}


def test_machines_that_the_autoscaler_may_start_count(cluster, tmp_path):
    config = tmp_path / "ray_bootstrap_config.yaml"
    cluster.setenv("RAY_ADDRESS", "auto")
    assert coming([], config) == []
    config.write_text(LAUNCHED)
    assert coming([], config) == [GPU] * 3 + [CPU] * 2
    alive = {"CPU": 8.0, "GPU": 1.0, "train_node": 1000.0, "memory": 1e9, "node:10.0.0.2": 1.0}
    assert coming([HEAD, alive], config) == [GPU] * 2 + [CPU] * 2
    cluster.delenv("RAY_ADDRESS")
    assert coming([], config) == []


@pytest.mark.parametrize("text", ["", "[", "available_node_types: []", "available_node_types: {a: 1}"])
def test_a_damaged_launch_file_is_named(text, cluster, tmp_path):
    config = tmp_path / "ray_bootstrap_config.yaml"
    config.write_text(text)
    cluster.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(InputError, match=r"ray_bootstrap_config.yaml: not what `ray up` writes"):
        coming([], config)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(["", "cpu", ""], {LABEL: "cpu"}, id="its-own"),
        pytest.param(["", "", ""], {}, id="none"),
        pytest.param(["", "cpu", "cpu"], {}, id="also-of-others"),
    ],
)
def test_a_label_selects_where_only_the_works_machines_have_it(labels, expected, cluster):
    nodes = [
        {"Alive": True, "Resources": machine, "Labels": {LABEL: label} if label else {}}
        for machine, label in zip([HEAD, CPU_NODE, GPU_NODE], labels, strict=True)
    ]
    cluster.setitem(__import__("sys").modules, "ray", SimpleNamespace(nodes=lambda: nodes))
    cluster.setenv("LIA_PREPARE_ON", "cpu_node")
    assert label_selector("prepare") == expected


def test_the_autoscaler_hears_at_once_of_all_that_the_work_can_use(cluster, tmp_path):
    config = tmp_path / "ray_bootstrap_config.yaml"
    config.write_text(LAUNCHED)
    cluster.setattr(placement, "AUTOSCALING", config)
    cluster.setenv("LIA_PREPARE_ON", "prepare_node")
    there = {"CPU": 16.0, "prepare_node": 1000.0}
    cluster.setattr(placement, "living", lambda: [HEAD, there])
    for useful, asked in ((10, 0), (20, 4), (99, 16)):
        ray = Ray(lambda: None)
        cluster.setitem(__import__("sys").modules, "ray", ray)
        assert await_machine("prepare", useful_cpus=useful) == [there]
        assert ray.tasks == asked


class Ray:
    """Stands for Ray; the task that waits for a machine brings one."""

    def __init__(self, arrive) -> None:
        self.asked: list[dict] = []
        self.tasks = self.waits = 0
        self._arrive = arrive

    def remote(self, function):
        return self

    def options(self, **wanted):
        self.asked.append(wanted)
        ray = self

        class Task:
            def remote(self):
                ray.tasks += 1
                ray._arrive()

        return Task()

    def wait(self, tasks, num_returns, timeout):
        assert tasks
        self.waits += 1
        return (tasks[:num_returns] if self.waits > 1 else []), []


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
