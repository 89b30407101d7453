"""What runs on the head beside Ray: MLflow's server."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
import psutil
import pytest
from ray.autoscaler._private.constants import RAY_PROCESSES

from tests.loopback import NO_PROXY, quiet_port
from tests.node_home import NodeHome

pytestmark = pytest.mark.slow


@contextmanager
def ended(node: NodeHome) -> Iterator[NodeHome]:
    """Ends, in the end, what the scripts keep running."""
    try:
        yield node
    finally:
        for file in node.path.glob("state/*.pid"):
            with suppress(ProcessLookupError):
                os.killpg(int(file.read_text()), signal.SIGKILL)


def status(url: str, **headers: str) -> int:
    """Of the answer to GET."""
    try:
        with NO_PROXY.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def service(node: NodeHome, name: str) -> psutil.Process:
    return psutil.Process(int((node.path / "state" / f"{name}.pid").read_text()))


def listeners(port: int) -> set[str]:
    """Addresses at which somebody listens on this port."""
    found = set()
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            address, _, local_port = line.split()[1].partition(":")
            if int(local_port, 16) == port and line.split()[3] == "0A":
                found.add(address)
    return found


LOOPBACK = "0100007F"


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head after `start_head.sh`."""
    port = quiet_port()
    node = NodeHome(
        tmp_path_factory.mktemp("head") / "home", {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    )
    (node.path / "lia" / ".venv" / "bin" / "mlflow").symlink_to(Path(sys.prefix) / "bin" / "mlflow")
    with ended(node):
        done = node.run("start_head.sh", "ray", "start", "--head")
        assert done.returncode == 0, done.stdout + done.stderr
        yield node, port


def test_it_keeps_records_and_artefacts(head, tmp_path):
    node, port = head
    client = mlflow.MlflowClient(f"http://127.0.0.1:{port}")
    run = client.create_run(client.create_experiment("cluster")).info
    client.log_metric(run.run_id, "loss", 0.5)
    (tmp_path / "note.txt").write_text("kept")
    client.log_artifact(run.run_id, str(tmp_path / "note.txt"))
    assert (node.path / "shared" / "mlflow" / "mlflow.db").is_file()
    (kept,) = (node.path / "shared" / "mlflow" / "artifacts").rglob("note.txt")
    assert kept.read_text() == "kept"


def test_it_listens_on_loopback_alone(head):
    assert listeners(head[1]) == {LOOPBACK}


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost:5000", 200), ("127.0.0.1:8000", 200), ("rebound.example.org", 403), ("10.0.0.1", 403)],
)
def test_it_answers_to_loopback_names_alone(head, host, expected):
    """`ray attach -p` may give it any local port; pages whose name resolves to 127.0.0.1 get nothing."""
    assert (
        status(f"http://127.0.0.1:{head[1]}/api/2.0/mlflow/experiments/search?max_results=1", Host=host)
        == expected
    )


def test_starting_the_head_again_starts_no_second_server(head):
    node, _ = head
    before = service(node, "mlflow").pid
    done = node.run("start_head.sh", "ray", "start", "--head")
    assert done.returncode == 0
    assert "answers" in done.stdout
    assert service(node, "mlflow").pid == before


def test_ray_stop_leaves_it_alone(head):
    """By what `ray stop` looks for; calling it would end the Ray of everybody on this machine."""
    node, _ = head
    own = [service(node, "mlflow"), *service(node, "mlflow").children(recursive=True)]
    assert len(own) > 1
    for process in own:
        for keyword, by_name in RAY_PROCESSES:
            assert keyword not in (process.name() if by_name else subprocess.list2cmdline(process.cmdline()))


def test_the_databases_address_is_in_no_command_line(head):
    node, _ = head
    for process in [service(node, "mlflow"), *service(node, "mlflow").children(recursive=True)]:
        assert "sqlite" not in " ".join(process.cmdline())


def test_a_server_that_cannot_start_is_reported_with_its_last_words(tmp_path):
    node = NodeHome(tmp_path / "home", {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{quiet_port()}"})
    node.program("mlflow", "#!/bin/sh\necho the database is away >&2\nexit 1\n", "lia/.venv/bin")
    node.program("sleep", "#!/bin/sh\nexec /bin/sleep 0.01\n")
    with ended(node):
        done = node.run("start_head.sh", "ray", "start", "--head")
    assert done.returncode == 1
    assert "the database is away" in done.stderr
    assert node.started() is None
