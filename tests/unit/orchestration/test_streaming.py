"""A preparation beside a training: what is heard of it, how it ends, and how the machines are shared."""

import threading
import time

import pytest

from orchestration.cluster import Node, Resources
from orchestration.experiment import ComputeConfig, Experiment, ScheduleConfig
from orchestration.streaming import Preparing, shares_beside_preparation
from pipelines.errors import InputError


def test_training_may_begin_with_the_first_edition_and_the_result_comes_later(capsys):
    go_on = threading.Event()

    def prepare(announce):
        announce(1, 1200)
        go_on.wait(60)
        return "prepared"

    with Preparing() as beside:
        beside.start(prepare)
        assert beside.await_first() is False
        assert beside.going_well()
        go_on.set()
        assert beside.result() == "prepared"
    assert "1,200 training clips" in capsys.readouterr().out


def test_a_preparation_that_is_over_without_an_edition_says_so():
    with Preparing() as beside:
        beside.start(lambda announce: "prepared")
        assert beside.await_first() is True


def test_what_ends_a_preparation_early_is_raised_where_it_is_waited_for():
    def prepare(announce):
        raise InputError("no videos")

    with Preparing() as beside:
        beside.start(prepare)
        with pytest.raises(InputError, match="no videos"):
            beside.await_first()
        assert not beside.going_well()
        with pytest.raises(InputError, match="no videos"):
            beside.result()


def test_a_failure_after_the_first_edition_ends_the_training():
    failing = threading.Event()

    def prepare(announce):
        announce(1, 5)
        failing.wait(60)
        raise InputError("too many failures")

    with Preparing() as beside:
        beside.start(prepare)
        assert beside.await_first() is False
        failing.set()
        with pytest.raises(InputError):
            beside.result()
        assert not beside.going_well()


def test_a_preparation_is_interrupted_as_by_ctrl_c_where_it_is_left():
    ended = []

    def prepare(announce):
        announce(1, 5)
        try:
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            ended.append("cleaned up")
            raise

    with Preparing() as beside:
        beside.start(prepare)
        beside.await_first()
    assert ended == ["cleaned up"]
    assert not beside.going_well()


def test_nothing_is_waited_for_that_was_not_begun():
    with Preparing():
        pass


def experiment(workers: int, device: str = "cpu") -> Experiment:
    schedule = ScheduleConfig(workers=workers, batch_size=workers)
    return Experiment(name="e", schedule=schedule, compute=ComputeConfig(device=device))


BOTH, GPU, CPU = Node(8, 0), Node(8, 2, frozenset({"train"})), Node(16, 0, frozenset({"prepare"}))


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "expected"),
    [
        pytest.param([Node(2, 0)], 1, "cpu", ({"CPU": 1}, 1), id="laptop"),
        pytest.param([BOTH], 2, "cpu", ({"CPU": 2}, 4), id="half-of-each-machine"),
        pytest.param([Node(8, 1)], 1, "cuda", ({"CPU": 4, "GPU": 1}, 4), id="beside-a-gpu"),
    ],
)
def test_machines_that_do_both_are_shared(nodes, workers, device, expected, monkeypatch):
    monkeypatch.delenv("LIA_PREPARE_ON", raising=False)
    monkeypatch.delenv("LIA_TRAIN_ON", raising=False)
    assert shares_beside_preparation(experiment(workers, device), Resources(tuple(nodes))) == expected


def test_machines_of_two_kinds_are_not_in_each_others_way(monkeypatch):
    monkeypatch.setenv("LIA_PREPARE_ON", "prepare")
    monkeypatch.setenv("LIA_TRAIN_ON", "train")
    share, leave = shares_beside_preparation(experiment(2, "cuda"), Resources((Node(0, 0), GPU, CPU)))
    assert (share, leave) == ({"CPU": 2, "GPU": 1, "train": 0.001}, 0)


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (2, 2), (4, 3)])
def test_too_few_processors_for_both_are_refused_with_the_remedy(cpus, workers, monkeypatch):
    monkeypatch.delenv("LIA_PREPARE_ON", raising=False)
    monkeypatch.delenv("LIA_TRAIN_ON", raising=False)
    with pytest.raises(InputError, match=r"--wait-for first: .*--wait-for all"):
        shares_beside_preparation(experiment(workers), Resources((Node(cpus, 0),)))
