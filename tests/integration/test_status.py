"""`lia status` against a real Ray cluster with its dashboard, a job and token authentication; and without any."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loopback import NO_PROXY, quiet_port
from tests.processes import PATIENCE, descendants, wait_for

CHECKOUT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef" * 4
JOB = "import time; print('at work', flush=True); time.sleep(3600)"


@dataclass(frozen=True)
class Head:
    """A cluster of this machine alone."""

    address: str
    environment: dict[str, str]

    def answer(self, path: str, body: object = None) -> object:
        """What the dashboard answers; None while it does not."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, data=data, headers=headers)
        with suppress(OSError), NO_PROXY.open(request, timeout=10) as found:
            return json.load(found)
        return None


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Iterator[Head]:
    """`ray start --head` with a dashboard on loopback, which submits jobs, and with a token of its own."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(TOKEN)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(CHECKOUT),
        "RAY_worker_niceness": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    dashboard, *others = (quiet_port() for _ in range(4))
    options = ("--port", "--dashboard-agent-listen-port", "--ray-client-server-port")
    # Paths of sockets are short by decree, and pytest's folders are not.
    ray_folder = f"/tmp/ray-{dashboard}"
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "2",
        "--include-dashboard", "true", "--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard),
        "--temp-dir", ray_folder,
        *(word for option, port in zip(options, others, strict=True) for word in (option, str(port))),
    ]  # fmt: skip
    log = home / "ray.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, start_new_session=True, cwd=home
        )
    made = Head(f"http://127.0.0.1:{dashboard}", environment)
    try:
        wait_for(lambda: process.poll() is not None or made.answer("/nodes?view=summary"))
        assert process.poll() is None, log.read_text()
        yield made
    finally:
        # Asked to end, Ray takes half a minute.
        for pid in [process.pid, *descendants(process.pid, b"")]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(ray_folder, ignore_errors=True)


def status(*arguments: str | Path, cwd: Path, expected: int = 0, **environment: str) -> str:
    """The screen, as a user sees it at 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.cli", "status", *map(str, arguments)],
        cwd=cwd, env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(CHECKOUT), **environment},
        text=True, capture_output=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == expected, done.stdout + done.stderr
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    return done.stdout


def test_a_cluster_with_a_job_and_who_may_see_it(head, tmp_path):
    job = {
        "entrypoint": f'{sys.executable} -c "{JOB}"',
        "submission_id": "small-job",
        "entrypoint_num_cpus": 1,
    }
    # On a busy machine the answer may come too late, and the same job is not taken twice.
    wait_for(lambda: head.answer("/api/jobs/", job) or head.answer("/api/jobs/small-job"))
    wait_for(lambda: head.answer("/api/jobs/small-job")["status"] == "RUNNING")
    # Machines' figures come every few seconds.
    wait_for(lambda: "1.0/2.0 CPU" in json.dumps(head.answer("/nodes?view=summary")))
    wait_for(lambda: head.answer("/nodes?view=summary")["data"]["summary"][0].get("mem"))

    seen = status("--address", head.address, cwd=tmp_path, **head.environment)
    assert f"JOBS         {head.address}" in seen
    assert " small-job\n" in seen
    assert "  RUNNING  " in seen
    assert "MACHINES     1 alive" in seen
    assert " 1/2 " in seen.partition("head")[2]
    assert TOKEN not in seen

    (tmp_path / "wrong").write_text("another")
    refused = {**head.environment, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")}
    seen = status("--address", head.address, cwd=tmp_path, expected=1, **refused)
    assert "does not take the token that is here" in seen
    assert "small-job" not in seen


def test_on_a_machine_without_anything_each_source_is_named(tmp_path):
    environment = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    seen = status("--address", "http://127.0.0.1:1", cwd=tmp_path, expected=1, **environment)
    assert "Ray: nothing answers at http://127.0.0.1:1" in seen
    assert "MLflow: http://127.0.0.1:1: the server does not answer" in seen
    assert list(tmp_path.iterdir()) == []


def test_servers_that_are_silent_are_given_up(tmp_path):
    """They take the connection and say nothing: so does a machine whose processes hang."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        seen = status("--address", address, cwd=tmp_path, expected=1, MLFLOW_TRACKING_URI=address)
    assert "timed out" in seen
    assert "MLflow: " in seen
