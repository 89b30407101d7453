"""`lia run` on a cluster that begins with a head alone: Ray's own autoscaler starts machines, and takes them away.

The node types are those of cluster.yaml with fewer processors; what the cloud's provider would launch are processes of
this machine (Ray's fake provider).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.cluster_files import AWS, EXAMPLES, ROOT, filled
from tests.processes import PATIENCE, wait_for
from tests.small_pipeline import arguments, write_raw_corpus

CPUS = {"head": 0, "cpu": 1, "gpu": 2}
MOST = {"head": 0, "cpu": 2, "gpu": 2}
HEAD_ID, HEAD_TYPE = "f" * 51 + "00000", "ray.head.default"
"""The fake provider's names for the machine that is there."""
COMMANDS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *(
        "head_start_ray_commands",
        "worker_start_ray_commands",
        "cluster_synced_files",
        "rsync_exclude",
        "rsync_filter",
    ),
)
"""What a launcher does on machines: here nothing."""
OBJECTS = 100 * 10**6


def autoscaler_config(address: str) -> dict:
    """cluster.yaml's node types and idle time, in the hands of the fake provider."""
    ours = filled(AWS, **EXAMPLES[AWS])
    types = {
        name: {
            "resources": {**found["resources"], "CPU": CPUS[name], "object_store_memory": OBJECTS},
            "labels": found.get("labels", {}),
            "node_config": {},
            "min_workers": found.get("min_workers", 0),
            "max_workers": MOST[name],
        }
        for name, found in ours["available_node_types"].items()
    }
    types[HEAD_TYPE] = types.pop(ours["head_node_type"])
    assert not any(found["min_workers"] for found in types.values())
    return {
        "cluster_name": "fake",
        "max_workers": ours["max_workers"],
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
        },
        "head_node_type": HEAD_TYPE,
        "available_node_types": types,
        "idle_timeout_minutes": 0.5,
        **{name: [] for name in COMMANDS},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
    }


def ending(mark: str) -> None:
    """Kill all processes whose environment holds the mark: the fake provider's are nobody's children."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture
def head(tmp_path):
    """The address of a head with an autoscaler, and a home in which `ray up` has left what the head may start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    config = autoscaler_config(address)
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(config))
    mark = f"lia-test-{uuid.uuid4()}"
    environment = {
        **os.environ,
        "LIA_TEST_MARK": mark,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    }
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address", "127.0.0.1"),
        *("--port", str(port), "--num-cpus", "0", "--num-gpus", "0", "--include-dashboard", "false"),
        *("--object-store-memory", str(OBJECTS), "--dashboard-agent-listen-port", "0"),
        *("--min-worker-port", "0", "--max-worker-port", "0"),
        *("--autoscaling-config", tmp_path / "ray_bootstrap_config.yaml", "--disable-usage-stats"),
    ]
    try:
        subprocess.run(list(map(str, command)), env=environment, check=True, capture_output=True)
        yield address
    finally:
        ending(mark)


WATCH = """
import json, time
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
while True:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = {name: sum(name in has for has in alive) for name in ("prepare_node", "train_node")}
    print(json.dumps(found), flush=True)
    time.sleep(0.2)
"""
NONE = {"prepare_node": 0, "train_node": 0}


class Watch:
    """How many machines there are for each work, and were at most in each phase of the run.

    Asked by a process of its own: one that was once connected without a token cannot start a Ray with one.
    """

    def __init__(self, address: str, log: Path, out: Path) -> None:
        self.now: dict[str, int] | None = None
        self.most = {phase: dict(NONE) for phase in ("prepare", "train", "evaluate")}
        self._log, self._out = log, out
        self._process = subprocess.Popen(
            [sys.executable, "-c", WATCH],
            env={**os.environ, "RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.now = json.loads(line)
            most = self.most[self._phase()]
            most.update({name: max(most[name], count) for name, count in self.now.items()})

    def _phase(self) -> str:
        if list(self._out.glob("run-*/finished.json")):
            return "evaluate"
        return (
            "train"
            if self._log.exists() and " written + " in self._log.read_text(errors="replace")
            else "prepare"
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.mark.slow
@pytest.mark.thorough
def test_machines_are_started_for_the_work_at_hand_and_end_when_it_is_done(head, tmp_path):
    corpus = write_raw_corpus(tmp_path / "corpus", clips=40)
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_ADDRESS": head,
        "RAY_AUTH_MODE": "disabled",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "LIA_PREPARE_ON": "prepare_node",
        "LIA_TRAIN_ON": "train_node",
    }
    command = [
        *(sys.executable, "-m", "orchestration.cli", "run", *arguments(corpus), "--schedule.steps", "6"),
        *("--schedule.workers", "1", "--prepare.shard_mb", "1", "--out", tmp_path / "out"),
    ]
    said = tmp_path / "said.txt"
    watch = Watch(head, said, tmp_path / "out")
    run = None
    try:
        wait_for(lambda: watch.now == NONE, every=0.2)
        with said.open("wb") as log:
            run = subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log)
        assert run.wait(PATIENCE) == 0, said.read_text()
        wait_for(lambda: watch.now == NONE, every=0.5)
    finally:
        if run is not None:
            run.kill()
            run.wait()
        watch.close()
    shards = list((tmp_path / "out").glob("dataset-*/*.tar"))
    assert len(shards) >= MOST["cpu"]
    assert watch.most["prepare"] == {"prepare_node": MOST["cpu"], "train_node": 0}
    assert watch.most["train"]["train_node"] == 1
    (run_folder,) = (tmp_path / "out").glob("run-*")
    assert json.loads((run_folder / "finished.json").read_text())
