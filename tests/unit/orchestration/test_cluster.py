"""What each training worker asks of the machines there are."""

import signal
import socket
import sys
from dataclasses import replace

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from orchestration.cluster import (
    Node,
    Resources,
    connected,
    cpus_each,
    silent_on_own_kills,
    start_locally,
    worker_share,
)
from orchestration.errors import Terminated, WorkFailedError
from orchestration.experiment import ComputeConfig, Experiment, ScheduleConfig
from pipelines.errors import InputError


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "expected"),
    [
        pytest.param([Node(2, 0)], 2, "auto", {"CPU": 1}, id="laptop"),
        pytest.param([Node(8, 0)], 2, "auto", {"CPU": 4}, id="workstation"),
        pytest.param([Node(4, 0), Node(2, 0)], 2, "auto", {"CPU": 2}, id="uneven-nodes-each-fit-one"),
        pytest.param(
            [Node(64, 0), Node(8, 8)], 8, "auto", {"CPU": 1, "GPU": 1}, id="gpu-node-beside-large-head"
        ),
        pytest.param([Node(48, 4)], 4, "cuda", {"CPU": 6, "GPU": 1}, id="half-of-a-gpus-cpus"),
        pytest.param([Node(16, 1)], 2, "cpu", {"CPU": 8}, id="cpu-although-there-is-a-gpu"),
    ],
)
def test_share(nodes, workers, device, expected):
    experiment = Experiment(
        name="e",
        schedule=ScheduleConfig(workers=workers, batch_size=workers),
        compute=ComputeConfig(device=device),
    )
    assert worker_share(experiment, Resources(tuple(nodes))) == expected


@pytest.mark.parametrize(
    ("nodes", "device", "remedy"),
    [
        ([Node(16, 1)], "auto", "--schedule.workers 1"),
        ([Node(16, 0)], "cuda", "--compute.device cpu"),
        ([Node(1, 0)], "cpu", "--schedule.workers 1"),
    ],
)
def test_too_few_machines_are_refused_with_the_remedy(nodes, device, remedy):
    schedule = ScheduleConfig(workers=2, batch_size=2)
    experiment = Experiment(name="e", schedule=schedule, compute=ComputeConfig(device=device))
    with pytest.raises(InputError, match=remedy):
        worker_share(experiment, Resources(tuple(nodes)))


def test_training_counts_the_machines_that_it_may_use(monkeypatch):
    monkeypatch.setenv("LIA_TRAIN_ON", "gpu_node")
    nodes = Node(64, 0, frozenset({"cpu_node"})), Node(8, 2, frozenset({"gpu_node"})), Node(32, 8)
    two = Experiment(name="e", schedule=ScheduleConfig(workers=2, batch_size=2))
    assert worker_share(two, Resources(nodes)) == {"CPU": 2, "GPU": 1, "gpu_node": 0.001}
    three = replace(two, schedule=ScheduleConfig(workers=3, batch_size=3))
    with pytest.raises(InputError, match="the cluster has 2 GPUs on machines that offer gpu_node: set"):
        worker_share(three, Resources(nodes))


def test_where_machines_of_a_cluster_are_named_no_other_ray_is_started(monkeypatch):
    def nowhere(**settings):
        assert settings["address"] == "auto"
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("LIA_PREPARE_ON", "prepare_node")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", nowhere)
    with (
        pytest.raises(InputError, match=r"LIA_PREPARE_ON: set, .* Give its address by RAY_ADDRESS"),
        connected(),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(
            ValueError("Invalid address format: x"), "RAY_ADDRESS=x: .* Correct it", id="no-address"
        ),
        pytest.param(ConnectionError("nobody"), "RAY_ADDRESS=x: .* RAY_AUTH_MODE=token", id="no-mode"),
        pytest.param(
            ray.exceptions.AuthenticationError("no token"),
            r"\(no token.*\): set RAY_AUTH_MODE=token",
            id="no-token",
        ),
    ],
)
def test_a_cluster_that_does_not_let_one_in_is_bad_input(error, words, monkeypatch):
    def refuse(**_):
        raise error

    monkeypatch.setenv("RAY_ADDRESS", "x")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(InputError, match=words), connected():
        pass


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("The actor is dead because it was killed by `ray.kill`.", False),
        ("1 worker(s) were killed due to the node running low on memory.", True),
    ],
)
def test_of_tasks_whose_actor_we_ended_ray_says_nothing(why, told, capsys):
    """Ray's listener for errors calls this function, by its place."""
    line = (
        f"Task MapWorker(MapBatches(ClipScorer)).submit failed. There are infinite retries remaining: {why}"
    )
    before = ray._private.worker.print_to_stdstream
    with silent_on_own_kills():
        ray._private.worker.print_to_stdstream(
            {"lines": [line], "pid": "raylet", "is_err": False}, ignore_prefix=False
        )
    assert ray._private.worker.print_to_stdstream is before
    assert (why in capsys.readouterr().out) == told


@pytest.mark.parametrize(("slow", "starts"), [(1, 2), (9, 3)])
def test_on_a_busy_machine_ray_is_started_again_a_few_times(slow, starts, monkeypatch):
    tried = []

    def init(**settings):
        tried.append(settings["address"])
        if len(tried) <= slow:
            raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    if slow < 3:
        start_locally()
    else:
        with pytest.raises(WorkFailedError, match="too busy"):
            start_locally()
    assert tried == ["local"] * starts


def test_the_token_that_ray_makes_is_for_its_user_alone(tmp_path, monkeypatch):
    token = tmp_path / ".ray" / "auth_token"

    def init(**settings):
        token.parent.mkdir()
        token.write_text("f" * 64)
        token.chmod(0o644)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray, "init", init)
    start_locally()
    assert token.stat().st_mode & 0o777 == 0o600


def test_other_errors_of_ray_are_its_own(monkeypatch):
    def init(**settings):
        raise RuntimeError("no room in /dev/shm")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RuntimeError, match="no room"):
        start_locally()


def test_an_elastic_run_begins_with_the_workers_there_are():
    schedule = ScheduleConfig(workers=4, min_workers=1, batch_size=4)
    assert worker_share(Experiment(name="e", schedule=schedule), Resources((Node(2, 0),))) == {"CPU": 1}


@pytest.mark.parametrize(
    ("cpus", "workers", "each"),
    [
        pytest.param([2], 1, 2, id="alone"),
        pytest.param([2], 2, 1, id="shared"),
        pytest.param([2], 5, 1, id="too-few"),
        pytest.param([8], 3, 2, id="a-rest-is-left"),
        pytest.param([4, 2], 1, 4, id="on-the-larger-node"),
        pytest.param([4, 2], 2, 2, id="uneven-nodes"),
        pytest.param([4, 4], 3, 2, id="no-worker-on-two-nodes"),
        pytest.param([64, 0], 10, 6, id="a-node-without-processors"),
    ],
)
def test_cpus_each(cpus, workers, each):
    assert cpus_each(Resources(tuple(Node(count, 0) for count in cpus)), workers) == each


@given(st.lists(st.integers(1, 64), min_size=1, max_size=5), st.integers(1, 40))
def test_cpus_each_is_the_most_with_which_all_workers_fit(cpus, workers):
    def room(each: int) -> int:
        return sum(count // each for count in cpus)

    each = cpus_each(Resources(tuple(Node(count, 0) for count in cpus)), workers)
    assert each >= 1
    assert each == 1 or room(each) >= workers
    assert all(room(more) < workers for more in range(each + 1, 65))


@pytest.fixture
def closed_port():
    """An address of this machine at which nothing listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{closed.getsockname()[1]}"


def test_an_address_at_which_nothing_listens_is_refused_at_once(closed_port, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", closed_port)
    words = rf"RAY_ADDRESS={closed_port}: no Ray cluster answers there \({closed_port}: .*refused"
    with pytest.raises(InputError, match=words) as refused, connected():
        pass
    assert "token" not in str(refused.value)


@pytest.mark.parametrize("address", ["auto", f"{'a' * 70}.example:6379"])
def test_where_there_is_no_cluster_no_token_is_asked_for(address, monkeypatch):
    from ray._private import services

    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    with (
        pytest.raises(InputError, match=rf"RAY_ADDRESS={address}: no Ray cluster answers") as refused,
        connected(),
    ):
        pass
    assert "token" not in str(refused.value)


def test_a_head_that_was_killed_has_left_its_address_and_is_not_waited_for(closed_port, monkeypatch):
    from ray._private import services

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: closed_port)
    port = closed_port.partition(":")[2]  # Ray puts the machine's own address in place of 127.0.0.1
    words = rf"RAY_ADDRESS=auto: no Ray cluster answers there \(\S+:{port}: .*refused"
    with pytest.raises(InputError, match=words) as refused, connected():
        pass
    assert "token" not in str(refused.value)


def test_a_signal_that_comes_while_ray_starts_is_told_as_one(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: sys.exit(signal.SIGTERM))
    with pytest.raises(Terminated), connected():
        pass
