"""Hosts that are cut off, killed and brought back, and a killed driver: the job ends with the same shards and weights.

Three hosts on this machine, started by `ray up` over SSH. The launcher's monitor on the head brings workers back.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.hosts import Host
from tests.processes import wait_for
from tests.small_cluster import ASKED_EVERY_S, Cluster, cluster, model_digest
from tests.small_corpus import folder_bytes
from tests.small_pipeline import arguments, write_raw_corpus

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
STEPS, EVERY = 80, 10
"""Of the training, and between two checkpoints: long enough for something to happen in between."""


@pytest.fixture(scope="module")
def hosts():
    with cluster("train", "prepare+train") as made:
        write_raw_corpus(made.shared / "corpus", clips=40)
        yield made


class Job:
    """`lia run` in a folder of its own."""

    def __init__(self, hosts: Cluster, out: str) -> None:
        self.hosts, self.out = hosts, hosts.shared / out
        self.submit()

    def submit(self) -> None:
        words = (
            *arguments(self.hosts.shared / "corpus"),
            *("--schedule.steps", str(STEPS), "--schedule.checkpoint_every", str(EVERY)),
            *("--schedule.workers", "2", "--prepare.shard_mb", "1", "--out", str(self.out)),
        )
        self.id = self.hosts.submit("lia", "run", *words)

    def shards(self) -> list[Path]:
        return list(self.out.glob("dataset-*/*.tar"))

    def checkpoints(self) -> list[Path]:
        return list(self.out.glob("run-*/checkpoints/step-*"))

    def drivers(self) -> list[int]:
        """Processes of `lia run` on the head."""
        return self.hosts.head.processes(str(self.out).encode() + b"\0")

    def result(self) -> tuple[dict[str, bytes], str]:
        """The shards' bytes and the model's digest."""
        self.hosts.wait(self.id)
        (dataset,) = self.out.glob("dataset-*")
        (run,) = self.out.glob("run-*")
        shards = {name: found for name, found in folder_bytes(dataset).items() if name.endswith(".tar")}
        return shards, model_digest(run)


@pytest.fixture(scope="module")
def undisturbed(hosts) -> tuple[dict[str, bytes], str]:
    return Job(hosts, "undisturbed").result()


@pytest.fixture
def preparing(hosts) -> Host:
    """The host that prepares."""
    return hosts.workers[1]


def begun(job: Job, host: Host) -> bool:
    """Whether the training saved something while this host took part."""
    return len(job.checkpoints()) >= 2 and bool(host.processes(b"RayTrainWorker"))


def test_a_host_is_cut_off_while_it_prepares(hosts, undisturbed, preparing):
    job = Job(hosts, "cut-off-in-preparation")
    wait_for(lambda: preparing.processes(b"ray::Map(_Worker)"))
    preparing.link(up=False)
    hosts.await_alive(2)
    preparing.link(up=True)
    assert job.result() == undisturbed


@pytest.mark.parametrize(
    ("lose", "bring_back"),
    [
        pytest.param(lambda host: host.link(up=False), lambda host: host.link(up=True), id="cut-off"),
        pytest.param(Host.kill, Host.start, id="killed"),
    ],
)
def test_a_host_is_lost_while_it_trains_and_comes_back(lose, bring_back, hosts, undisturbed, request):
    hosts.await_alive(3)
    job = Job(hosts, request.node.callspec.id)
    host = hosts.workers[0]
    wait_for(lambda: begun(job, host), every=0.5)
    lose(host)
    hosts.await_alive(2)
    bring_back(host)
    assert job.result() == undisturbed


def test_the_driver_is_killed_and_the_job_submitted_again(hosts, undisturbed):
    hosts.await_alive(3)
    job = Job(hosts, "driver")
    wait_for(lambda: begun(job, hosts.workers[0]), every=0.5)
    for process in job.drivers():
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: hosts.status(job.id) == "failed", every=ASKED_EVERY_S)
    job.submit()
    assert job.result() == undisturbed
