"""Hosts that are cut off, killed and brought back, and a killed driver: the job ends with the same shards and weights.

Three hosts on this machine, started by `ray up` over SSH. The launcher's monitor on the head brings workers back.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.hosts import Host
from tests.processes import wait_for
from tests.s3_server import BUCKET, bucket_bytes, moto_server, using_s3
from tests.small_cluster import ASKED_EVERY_S, S3_PORT, Cluster, cluster, model_digest
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


@pytest.fixture(scope="module")
def s3(hosts):
    """An S3 server on this machine, at its address on the hosts' network."""
    with moto_server(hosts.here, S3_PORT) as url, using_s3(url):
        yield


SHARDS = pytest.mark.parametrize("on_s3", [False, True], ids=["in-the-shared-folder", "on-s3"])


class Job:
    """`lia run` in a folder of its own, with shards there or in a folder of the bucket that is called so, too."""

    def __init__(self, hosts: Cluster, out: str, *, on_s3: bool = False) -> None:
        self.hosts, self.out, self.on_s3 = hosts, hosts.shared / out, on_s3
        self.submit()

    def submit(self) -> None:
        words = (
            *arguments(self.hosts.shared / "corpus"),
            *("--schedule.steps", str(STEPS), "--schedule.checkpoint_every", str(EVERY)),
            *("--schedule.workers", "2", "--prepare.shard_mb", "1", "--out", str(self.out)),
            *(("--shards", f"s3://{BUCKET}/{self.out.name}") if self.on_s3 else ()),
        )
        self.id = self.hosts.submit("lia", "run", *words)

    def checkpoints(self) -> list[Path]:
        return list(self.out.glob("run-*/checkpoints/step-*"))

    def drivers(self) -> list[int]:
        """Processes of `lia run` on the head."""
        return self.hosts.head.processes(str(self.out).encode() + b"\0")

    def result(self) -> tuple[dict[str, bytes], str]:
        """The shards' bytes and the model's digest."""
        self.hosts.wait(self.id)
        (run,) = self.out.glob("run-*")
        files = bucket_bytes(self.out.name) if self.on_s3 else folder_bytes(self.out)
        shards = {name.partition("/")[2]: found for name, found in files.items() if name.endswith(".tar")}
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


@SHARDS
def test_a_host_is_cut_off_while_it_prepares(on_s3, hosts, undisturbed, preparing, s3):
    hosts.await_alive(3)
    job = Job(hosts, f"cut-off-in-preparation-{on_s3}", on_s3=on_s3)
    wait_for(lambda: preparing.processes(b"ray::Map(_Worker)"))
    preparing.link(up=False)
    hosts.await_alive(2)
    preparing.link(up=True)
    hosts.await_alive(3)
    assert job.result() == undisturbed


@pytest.mark.parametrize(
    ("lose", "bring_back", "on_s3"),
    [
        pytest.param(lambda host: host.link(up=False), lambda host: host.link(up=True), True, id="cut-off"),
        pytest.param(Host.kill, Host.start, False, id="killed"),
    ],
)
def test_a_host_is_lost_while_it_trains_and_comes_back(
    lose, bring_back, on_s3, hosts, undisturbed, s3, request
):
    hosts.await_alive(3)
    job = Job(hosts, request.node.callspec.id, on_s3=on_s3)
    host = hosts.workers[0]
    wait_for(lambda: begun(job, host), every=0.5)
    lose(host)
    hosts.await_alive(2)
    bring_back(host)
    hosts.await_alive(3)
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
