"""Training when things die: workers, the driver, a node, the disk. What is left is whole, the end the same bits."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from orchestration.cluster import start_locally
from orchestration.training.checkpoint import DamagedCheckpointError, read_progress
from tests.processes import descendants, wait_for
from tests.small_training import (
    EVERY,
    RECIPE,
    STEPS,
    Training,
    freeze_while_writing,
    last_step,
    result,
    workers,
    write_dataset,
)

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def dataset(root) -> Path:
    return write_dataset(root)


@pytest.fixture(scope="module")
def cluster():
    """A cluster that outlives the drivers, for two workers."""
    import ray

    context = start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield context.address_info["address"]
    ray.shutdown()


@pytest.fixture(scope="module")
def undisturbed(root, dataset, cluster) -> dict[str, str]:
    """What a run without accidents ends with."""
    cwd = root / "undisturbed"
    cwd.mkdir()
    said = Training(cwd, *RECIPE, "--data", dataset, "--stop-after", str(STEPS), address=cluster).end()
    assert "set aside" not in said
    return result(cwd / "run")


@pytest.fixture
def start(root, request, dataset):
    """Starts `lia train` on the dataset, or goes on with `--resume`; nothing of it outlives the test."""
    cwd = root / request.node.name.replace("/", "-")
    cwd.mkdir()
    started = []

    def begin(*arguments: str | Path, **how: str | Path) -> Training:
        what = () if "--resume" in arguments else (*RECIPE, "--data", dataset)
        started.append(Training(cwd, *what, "--stop-after", str(STEPS), *arguments, **how))
        return started[-1]

    yield begin
    for training in started:
        training.close()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_killed_worker_is_started_again(seed, start, undisturbed, cluster):
    chance = np.random.default_rng(seed)
    training = start(address=cluster)
    at_least = int(chance.integers(1, STEPS // EVERY - 3)) * EVERY
    training.wait_for_step(at_least)
    time.sleep(chance.uniform(0, 0.3))
    victim = int(chance.choice(workers()))
    os.kill(victim, signal.SIGKILL)
    print(f"seed {seed}: killed {victim} after step {at_least}, newest {training.checkpoints.steps()[-1]}")
    said = training.end()
    assert "starting the workers again" in said
    assert result(training.out) == undisturbed


@pytest.mark.thorough
def test_a_killed_controller_is_started_again(start, undisturbed, cluster):
    """The process in which Ray Train watches over the workers; they die with it."""
    training = start(address=cluster)
    training.wait_for_step(2 * EVERY)
    (controller,) = descendants(os.getpid(), b"ray::TrainController")
    os.kill(controller, signal.SIGKILL)
    said = training.end()
    assert "Traceback" not in said
    assert result(training.out) == undisturbed


@pytest.mark.thorough
def test_a_damaged_checkpoint_is_found_when_workers_start_again(start, undisturbed, cluster):
    training = start(address=cluster)
    training.wait_for_step(2 * EVERY)
    freeze(pids := wait_for(workers))
    newest = training.checkpoints.path(training.checkpoints.steps()[-1])
    flip_a_byte(newest / "generator" / "model.safetensors")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    said = training.end()
    assert f"{newest}/generator/model.safetensors: missing or damaged" in said
    assert f"it is set aside as damaged-{newest.name}" in said
    assert (newest.with_name(f"damaged-{newest.name}")).is_dir()
    assert result(training.out) == undisturbed


def test_drivers_that_are_killed_or_interrupted_are_gone_on_with(start, undisturbed, root, cluster):
    """Killed on a cluster that lives on: its workers may still write while the next driver looks for checkpoints."""
    training = start(address=cluster)
    training.wait_for_step(EVERY)
    training.kill()
    before = training.checkpoints.steps()[-1]

    resumed = start("--resume", address=cluster)
    wait_for(lambda: resumed.running() and last_step(resumed.said) > before)
    resumed.process.send_signal(signal.SIGINT)
    said = resumed.end(130)
    assert "stopping after this step" in said
    assert "lia train: interrupted; what was finished is kept" in said
    stopped = resumed.checkpoints.steps()[-1]
    assert f"checkpoint of step {stopped} saved" in said
    assert before < stopped < STEPS
    assert mlflow_status(root, training.out) == "KILLED"

    start("--resume").end()  # on a cluster of the machine's own this time
    assert result(training.out) == undisturbed
    assert not list(training.out.glob("checkpoints/.*")), "leftovers"


@pytest.mark.thorough
def test_everything_killed_while_a_checkpoint_is_written(start, undisturbed):
    training = start()
    training.wait_for_step(EVERY)
    pids = workers(training.process.pid)
    partial = freeze_while_writing(pids, training.out)
    assert not (partial / "state.json").exists() or read_is_refused(partial)
    for pid in (training.process.pid, *pids):
        os.kill(pid, signal.SIGKILL)
    training.process.wait()
    assert partial.is_dir()
    newest = training.checkpoints.newest_sound()
    assert newest is not None
    assert training.checkpoints.set_aside == []
    start("--resume").end()
    assert result(training.out) == undisturbed
    assert not list(training.out.glob("checkpoints/.*")), "leftovers"


@pytest.mark.thorough
def test_sigterm_then_resume(start, undisturbed, cluster):
    training = start(address=cluster)
    training.wait_for_step(2 * EVERY)
    training.process.send_signal(signal.SIGTERM)
    said = training.end(143)
    assert "stopping after this step" in said
    stopped = training.checkpoints.steps()[-1]
    assert f"checkpoint of step {stopped} saved" in said
    assert stopped < STEPS
    start("--resume", address=cluster).end()
    assert result(training.out) == undisturbed


@pytest.mark.thorough
def test_a_second_sigterm_leaves_at_once(start, root):
    training = start()
    training.wait_for_step(EVERY)
    freeze(pids := workers(training.process.pid))  # the step in hand would never end
    training.process.send_signal(signal.SIGTERM)
    training.wait_for_words("once more stops at once")
    began = time.monotonic()
    training.process.send_signal(signal.SIGTERM)
    said = training.end(143)
    assert time.monotonic() - began < 60, "no waiting for the step"
    assert "Traceback" not in said
    assert mlflow_status(root, training.out) == "KILLED"
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.thorough
def test_sigterm_while_workers_start(start, undisturbed, cluster):
    training = start(address=cluster)
    training.wait_for_words("starting workers")
    training.process.send_signal(signal.SIGTERM)
    said = training.end(143)
    assert "Traceback" not in said
    assert all(step < STEPS for step in training.checkpoints.steps())
    start("--resume", address=cluster).end()
    assert result(training.out) == undisturbed


@pytest.mark.thorough
def test_sigterm_to_all_processes_and_then_sigkill(start, undisturbed):
    """As batch systems end a job that is over its time: Ray's daemons go at the first, and the driver may wait."""
    training = start()
    training.wait_for_step(2 * EVERY)
    os.killpg(training.process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        training.process.wait(10)
    training.close()
    start("--resume").end()
    assert result(training.out) == undisturbed


def test_a_diverging_run_ends_with_everything_that_is_needed_to_see_why(start, root, cluster):
    changes = ("--optimiser.lr", "1e12", "--schedule.checkpoint_every", "1", "--schedule.log_every", "1")
    training = start(*changes, address=cluster)
    said = training.end(1)
    last_line = said.strip().splitlines()[-1]
    assert last_line.startswith("lia train: run: step ")
    assert "not finite (" in last_line
    assert "l1 = " in last_line
    assert "last good checkpoint: " in last_line
    assert "starting the workers again" not in said, "it would only diverge again"
    for step in training.checkpoints.steps():
        read_progress(training.checkpoints.path(step))
    assert not (training.out / "model").exists()
    assert mlflow_status(root, training.out) == "FAILED"


@pytest.fixture
def two_nodes():
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield nodes
    nodes.shutdown()


def test_training_goes_on_with_fewer_workers_after_a_node_is_lost(start, two_nodes, root):
    other = two_nodes.add_node(num_cpus=1)
    two_nodes.wait_for_nodes()
    # As many steps as it takes until the node is gone, on however fast a machine.
    endless = ("--stop-after", "100000")
    training = start("--schedule.min_workers", "1", *endless, address=two_nodes.address)
    training.wait_for_step(2 * EVERY)
    raylet = other.all_processes["raylet"][0].process.pid
    (lost,) = workers(raylet)
    # Nothing that it has in hand is finished any more, as on a lost machine.
    os.kill(lost, signal.SIGSTOP)
    os.kill(raylet, signal.SIGKILL)
    began = time.monotonic()
    try:
        training.wait_for_words("with 1 workers, before 2")
        print(
            f"{time.monotonic() - began:.1f} s from the node's death to the start of the worker that is left"
        )
        *_, step = map(int, re.findall(r"goes on from step (\d+) with 1 workers", training.said))
        training.wait_for_step(step + 2 * EVERY)
        training.process.send_signal(signal.SIGTERM)
        said = training.end(143)
    finally:
        with suppress(ProcessLookupError):
            os.kill(lost, signal.SIGKILL)
    assert "starting the workers again" in said
    assert step >= 2 * EVERY
    assert read_progress(training.checkpoints.path(training.checkpoints.steps()[-1])).world_size == 1
    assert metric(root, training.out, "speed/workers")[-1] == 1


@pytest.mark.thorough
def test_a_node_that_comes_later_takes_part_and_no_step_is_lost(start, two_nodes):
    """Ray looks about once a minute whether there is room for more workers."""
    rare = ("--schedule.checkpoint_every", "100000", "--stop-after", "100000")
    training = start("--schedule.min_workers", "1", *rare, address=two_nodes.address)
    wait_for(lambda: training.running() and last_step(training.said) >= EVERY)
    two_nodes.add_node(num_cpus=1)
    before = last_step(training.said)
    training.wait_for_words("with 2 workers, before 1")
    (step,) = map(int, re.findall(r"goes on from step (\d+) with 2 workers", training.said))
    assert step >= before > 0, "they saved before they were stopped"
    training.process.send_signal(signal.SIGTERM)
    training.end(143)
    assert read_progress(training.checkpoints.path(training.checkpoints.steps()[-1])).world_size == 2


@pytest.fixture
def small_disk(root):
    """Mounts a disk of the given size, for the length of a test."""
    folder = root / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"may not mount here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts file systems: needs root")
def test_a_disk_that_fills_up(start, undisturbed, cluster, small_disk):
    disk = small_disk("size=2m")
    training = start(out=disk / "run", address=cluster)
    said = training.end(1)
    assert f"{disk}/run/checkpoints: a checkpoint could not be written" in said.splitlines()[-1]
    assert "No space left on device" in said.splitlines()[-1]
    assert "MB are free), then go on with --resume" in said.splitlines()[-1]
    assert "starting the workers again" not in said
    assert training.checkpoints.steps()
    for step in training.checkpoints.steps():
        read_progress(training.checkpoints.path(step))
    assert not list(training.out.glob("checkpoints/.*")), "leftovers"
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    start("--resume", out=disk / "run", address=cluster).end()
    assert result(training.out) == undisturbed


def freeze(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def read_is_refused(folder: Path) -> bool:
    with pytest.raises(DamagedCheckpointError):
        read_progress(folder)
    return True


def mlflow_client(root: Path, out: Path):
    import mlflow

    record = json.loads((out / "run.json").read_text())
    return mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), record["run_id"]


def mlflow_status(root: Path, out: Path) -> str:
    from tracking.quiet import quiet_mlflow

    with quiet_mlflow():
        client, run_id = mlflow_client(root, out)
        return client.get_run(run_id).info.status


def metric(root: Path, out: Path, name: str) -> list[float]:
    from tracking.quiet import quiet_mlflow

    with quiet_mlflow():
        client, run_id = mlflow_client(root, out)
        return [point.value for point in client.get_metric_history(run_id, name)]
