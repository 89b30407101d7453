"""A cluster over real SSH: three hosts on this machine, `ray up`, jobs, `ray down`."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.dataset.pairs import PairDataset
from tests.processes import wait_for
from tests.s3_server import BUCKET, moto_server, using_s3
from tests.small_cluster import ASKED_EVERY_S, ROOT, S3_PORT, Cluster, cluster, model_digest
from tests.small_pipeline import arguments, write_raw_corpus

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.fixture(scope="module")
def hosts():
    with cluster("train", "prepare+train") as made:
        write_raw_corpus(made.shared / "corpus")
        yield made


def submit(hosts: Cluster, out: str, *more: str) -> str:
    words = (*arguments(hosts.shared / "corpus"), "--schedule.steps", "12", "--schedule.workers", "2", *more)
    return hosts.submit("lia", "run", *words, "--out", str(hosts.shared / out))


@pytest.fixture(scope="module")
def first(hosts) -> tuple[Path, Path, set[str]]:
    """The dataset and the run of a job whose shards lie in the shared folder, and the hosts on which it trained."""
    job, seen = submit(hosts, "runs"), set()

    def over() -> bool:
        seen.update(host.name for host in hosts.workers if host.processes(b"RayTrainWorker"))
        return len(seen) == len(hosts.workers) or bool(hosts.status(job))

    wait_for(over, every=ASKED_EVERY_S)
    hosts.wait(job)
    (dataset,) = (hosts.shared / "runs").glob("dataset-*")
    (run,) = (hosts.shared / "runs").glob("run-*")
    return dataset, run, seen


def test_workers_train_on_different_hosts(hosts, first):
    assert first[2] == {host.name for host in hosts.workers}


def test_runs_and_models_are_recorded_by_the_heads_server(hosts, first):
    listed = hosts.head.ssh("lia registry list").stdout
    assert "lia-demo" in listed
    assert (hosts.shared / "mlflow" / "mlflow.db").is_file()
    assert not [path for path in first[1].rglob("unsent") if any(path.iterdir())]


@pytest.fixture
def s3(hosts):
    """An S3 server on this machine, at its address on the hosts' network."""
    with moto_server(hosts.here, S3_PORT) as url, using_s3(url):
        yield f"s3://{BUCKET}/shards"


def test_with_shards_on_s3_it_is_the_same_model(hosts, first, s3):
    job = submit(hosts, "runs-s3", "--shards", s3)
    hosts.wait(job)
    (run,) = (hosts.shared / "runs-s3").glob("run-*")
    assert not list((hosts.shared / "runs-s3").rglob("*.tar"))
    assert model_digest(run) == model_digest(first[1])
    there = PairDataset(f"{s3}/{first[0].name}", "train")
    assert there.digest == PairDataset(first[0], "train").digest


@pytest.mark.parametrize("port", [8265, 5000], ids=["dashboard", "mlflow"])
def test_on_the_hosts_outer_addresses_nobody_answers(port, hosts):
    assert hosts.head.ssh(f"curl -s -o /dev/null http://127.0.0.1:{port}", check=False).returncode == 0
    for host in (hosts.head, *hosts.workers):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host.address, port), timeout=10)


WRONG = "0" * 64
NO_TOKEN = pytest.mark.parametrize("token", ["", WRONG], ids=["without-the-token", "with-another-token"])


def asked(hosts: Cluster, home: Path, token: str) -> subprocess.CompletedProcess[str]:
    """Somebody on the same network asks Ray which nodes there are."""
    ask = (
        "import sys; from ray._raylet import GcsClient; "
        "print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=20)))"
    )
    environment = {
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        **({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}),
    }
    return subprocess.run(
        [sys.executable, "-c", ask, f"{hosts.head.address}:6379"],
        cwd=home, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_client_with_the_token_is_answered(hosts, tmp_path):
    done = asked(hosts, tmp_path, hosts.token)
    assert done.stdout.strip() == "3", done.stderr


@NO_TOKEN
def test_a_client_is_turned_away(token, hosts, tmp_path):
    done = asked(hosts, tmp_path, token)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Unauthenticated" in done.stderr or "InvalidAuthToken" in done.stderr, done.stderr


def submitted(hosts: Cluster, token: str) -> subprocess.CompletedProcess[str]:
    """Somebody on the head, who is not its user, submits a job."""
    mode = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={token}" if token else "-u RAY_AUTH_MODE"
    return hosts.head.ssh(
        f"env {mode} HOME=/nonexistent ray job submit --address http://127.0.0.1:8265 --no-wait -- true",
        check=False,
    )


def test_a_job_with_the_token_is_taken(hosts):
    assert "raysubmit_" in submitted(hosts, hosts.token).stdout


@NO_TOKEN
def test_a_job_is_turned_away(token, hosts):
    told = submitted(hosts, token)
    assert told.returncode != 0
    assert "raysubmit_" not in told.stdout
    assert "token" in (told.stdout + told.stderr).lower()


def test_ray_down_ends_ray_on_every_host(hosts):
    """The last of these tests."""
    assert hosts.ray_processes()
    hosts.down()
    wait_for(lambda: not hosts.ray_processes(), every=ASKED_EVERY_S)
