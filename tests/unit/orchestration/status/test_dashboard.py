"""What is made of the dashboard's answers, where it is looked for, and what is said when it does not answer."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from orchestration.status import dashboard
from orchestration.status.dashboard import dashboard_address, jobs_of, machines_of, read_cluster, read_token
from orchestration.status.unreached import Unreached

# As Ray 2.60 answers, without what is not read.
JOBS = [
    {
        "type": "SUBMISSION", "job_id": "01000000", "submission_id": "old", "status": "FAILED",
        "entrypoint": "lia run x", "message": "exit code 2", "start_time": 1_000_000, "end_time": 1_060_000,
    },
    {
        "type": "SUBMISSION", "job_id": None, "submission_id": "new", "status": "RUNNING",
        "entrypoint": "MLFLOW_TRACKING_URI=http://me:hush@host lia run y", "message": "Job is running.",
        "start_time": 2_000_000, "end_time": None,
    },
    {
        "type": "DRIVER", "job_id": "03000000", "submission_id": None, "status": "SUCCEEDED", "entrypoint": "",
        "message": None, "start_time": 3_000_000, "end_time": 3_001_000,
    },
    {
        "type": "DRIVER", "job_id": "04000000", "submission_id": None, "status": "RUNNING", "entrypoint": "",
        "message": None, "start_time": 1_500_000, "end_time": None,
    },
]  # fmt: skip
HEAD = {
    "cpu": 12.5,
    "mem": [16e9, 10e9, 37.5, 6e9],
    "gpus": [],
    "raylet": {
        "nodeId": "a", "state": "ALIVE", "isHeadNode": True, "resourcesTotal": {"CPU": 2.0, "memory": 1e9},
        "labels": {"ray.io/node-id": "a"}, "nodeTypeName": "",
    },
}  # fmt: skip
GPU_NODE = {
    "cpu": 50.0,
    "mem": [64e9, 32e9, 50.0, 32e9],
    "gpus": [
        {"index": 0, "name": "H200", "utilizationGpu": 90, "memoryUsed": 1000, "memoryTotal": 143000},
        {"index": 1, "name": "H200", "utilizationGpu": None, "memoryUsed": 0, "memoryTotal": 143000},
    ],
    "raylet": {
        "nodeId": "b", "state": "ALIVE", "isHeadNode": False, "resourcesTotal": {"CPU": 16.0, "GPU": 2.0},
        "labels": {"ray.io/node-group": "gpu-worker"}, "nodeTypeName": "",
    },
}  # fmt: skip
LOST = {"raylet": {"nodeId": "c", "state": "DEAD", "isHeadNode": False, "resourcesTotal": {"CPU": 4.0}}}
NODES = {
    "summary": [GPU_NODE, LOST, HEAD],
    "nodeLogicalResources": {
        "a": "0.0/2.0 CPU\n0B/12.63GiB memory",
        "b": "8.0/16.0 CPU (8.0 used of 8.0 reserved in placement groups)\n2.0/2.0 GPU\n0B/1GiB memory",
    },
}


def test_jobs_under_way_come_first_and_passwords_not_at_all():
    running, driver, failed = jobs_of(JOBS)  # not the driver that is over
    assert (running.name, running.began, running.ended) == ("new", 2000.0, None)
    assert running.command == "MLFLOW_TRACKING_URI=http://host lia run y"
    assert (driver.name, driver.message) == ("04000000", "")
    assert (failed.status, failed.ended, failed.message) == ("FAILED", 1060.0, "exit code 2")


def test_machines():
    head, gpu, lost = machines_of(NODES)
    assert (head.kind, head.cpus, head.gpus, head.cpus_taken, head.gpus_taken) == ("head", 2, 0, 0, 0)
    assert (head.cpu_percent, head.memory_used, head.memory) == (12.5, 6e9, 16e9)
    assert (gpu.kind, gpu.cpus_taken, gpu.gpus_taken) == ("gpu-worker", 8, 2)
    assert (gpu.gpu_percent, gpu.gpu_memory_used, gpu.gpu_memory) == ((90.0,), 1000 * 2**20, 286000 * 2**20)
    assert (lost.kind, lost.alive, lost.cpus_taken, lost.memory) == ("worker", False, None, None)


def test_machines_of_the_older_autoscaler_are_told_by_address_and_apart_by_what_they_offer():
    resources = {
        **{"CPU": 4.0, "memory": 1e9, "objectStoreMemory": 1e9, "trainNode": 1000.0},
        **{"node:10.0.0.2": 1.0, "acceleratorType:A10G": 1.0},
    }
    raylet = {"nodeId": "d", "state": "ALIVE", "nodeManagerAddress": "10.0.0.2", "resourcesTotal": resources}
    (machine,) = machines_of(
        {"summary": [{"raylet": raylet}], "nodeLogicalResources": {"10.0.0.2": "3.0/4.0 CPU"}}
    )
    assert (machine.kind, machine.cpus_taken) == ("worker train_node", 3.0)


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        pytest.param(None, {}, "http://127.0.0.1:8265", id="this-machine"),
        pytest.param("http://host:80/", {"RAY_ADDRESS": "other:6379"}, "http://host:80", id="given"),
        pytest.param("host:9000", {}, "http://host:9000", id="given-without-scheme"),
        pytest.param(None, {"RAY_ADDRESS": "auto"}, "http://127.0.0.1:8265", id="auto"),
        pytest.param(None, {"RAY_ADDRESS": "10.0.0.1:6379"}, "http://10.0.0.1:8265", id="beside-the-gcs"),
        pytest.param(None, {"RAY_ADDRESS": "ray://[::1]:10001"}, "http://[::1]:8265", id="client"),
        pytest.param(
            None, {"RAY_ADDRESS": "https://ray.example"}, "https://ray.example", id="as-ray-job-takes-it"
        ),
        pytest.param(
            None,
            {"RAY_ADDRESS": "x:1", "RAY_API_SERVER_ADDRESS": "http://y:2"},
            "http://y:2",
            id="the-variable-for-it",
        ),
    ],
)
def test_where_the_dashboard_is_looked_for(given, environment, expected):
    assert dashboard_address(given, environment) == expected


def test_the_token_is_where_ray_looks_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_token({}) is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("one\n")
    (tmp_path / "other").write_text("two")
    assert read_token({}) == "one"
    assert read_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "other")}) == "two"
    assert read_token({"RAY_AUTH_TOKEN_PATH": "x", "RAY_AUTH_TOKEN": "three"}) == "three"


@contextmanager
def server(status: int = 200, body: bytes | None = None, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A dashboard on loopback that wants the token `t`; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            allowed = self.headers.get("Authorization") == "Bearer t"
            answer = json.dumps(JOBS if "jobs" in self.path else {"data": NODES}).encode()
            self.send_response(status if allowed else 401)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer if body is None else body)

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", asked
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def test_a_cluster_is_read_with_its_token():
    with server() as (address, _):
        found = read_cluster(address, {"RAY_AUTH_TOKEN": "t"})
    assert (len(found.jobs), len(found.machines), found.address) == (3, 3, address)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "wants a token, and there is none here"),
        ({"RAY_AUTH_TOKEN": "another"}, "does not take the token that is here"),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_said_with_the_remedy(environment, words):
    with server() as (address, _), pytest.raises(Unreached, match=words) as caught:
        read_cluster(address, environment)
    assert "ray get-auth-token" in caught.value.remedy


def test_the_token_goes_to_no_other_address():
    with server() as (other, asked), server(302, Location=f"{other}/api/jobs/") as (address, _):
        with pytest.raises(Unreached, match="answers with status 302"):
            read_cluster(address, {"RAY_AUTH_TOKEN": "t"})
        assert asked == []


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"data": 1}'])
def test_another_server_is_not_taken_for_a_dashboard(body):
    with server(body=body) as (address, _), pytest.raises(Unreached, match="dashboard"):
        read_cluster(address, {"RAY_AUTH_TOKEN": "t"})


def test_a_server_that_is_silent_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(dashboard, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreached, match=r"nothing answers at .*timed out"):
            read_cluster(address, {})


def test_where_nothing_listens_is_said_with_the_remedy():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unreached, match="nothing answers at") as caught:
            read_cluster(f"http://127.0.0.1:{closed.getsockname()[1]}", {})
    assert "ray dashboard cluster.yaml" in caught.value.remedy
