"""A cluster of hosts on this machine, by `cluster-on-premise.yaml` and Ray's own launcher over SSH."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster_files import ON_PREMISE, ROOT, filled
from tests.hosts import Host, network, require_hosts
from tests.processes import PATIENCE, wait_for
from tests.s3_server import s3_settings

S3_PORT = 21987
ASKED_EVERY_S = 3.0
"""A question over SSH costs a second of one core, which the hosts need."""
COUNT = """
import ray
ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
print(sum(node["Alive"] for node in ray.nodes()))
"""


class Cluster:
    """A head, and workers with their roles."""

    def __init__(self, hosts: list[Host], here: str, key: Path, shared: Path, roles: list[str]) -> None:
        self.head, *self.workers = hosts
        self.here, self.shared = here, shared
        self._home = shared.parent / "user"
        self._home.mkdir()
        self._file = shared.parent / "cluster.yaml"
        by_address = dict(zip((host.address for host in self.workers), roles, strict=True))
        self._write(key, " ".join(f"{address}={role}" for address, role in by_address.items()))
        self._user("ray", "get-auth-token", "--generate")
        self.token = (self._home / ".ray" / "auth_token").read_text().strip()
        self._up = False

    def _write(self, key: Path, roles: str) -> None:
        """The file as a user fills it in."""
        workers = [host.address for host in self.workers]
        config = filled(ON_PREMISE, head=self.head.address, workers=json.dumps(workers), user="root")
        # The launcher keeps its state by this name, in a folder of the machine's.
        config["cluster_name"] = f"lia-{self.head.name}"
        config["auth"]["ssh_private_key"] = str(key)
        variables = {
            "LIA_SHARED": str(self.shared),
            "LIA_ROLES": roles,
            "LIA_CACHE": "~/cache",
            # Of each host, not of the machine that they share.
            "RAY_TMPDIR": "~/tmp",
            "LIA_STATE": "~/state",
            **s3_settings(f"http://{self.here}:{S3_PORT}"),
        }
        words = " ".join(
            f"{name}={value}" if value.startswith("~") else f'{name}="{value}"'
            for name, value in variables.items()
        )
        (placeholder,) = (
            index for index, found in enumerate(config["setup_commands"]) if isinstance(found, dict)
        )
        config["setup_commands"][placeholder] = (
            f"mkdir -p ~/tmp && bash ~/lia/orchestration/nodes/settings.sh {words}"
        )
        self._file.write_text(yaml.safe_dump(config, sort_keys=False))

    def up(self) -> None:
        """`ray up`, and wait until the workers have joined."""
        self._up = True
        self._user("ray", "up", "--yes", "--no-config-cache", str(self._file))
        self.await_alive(len(self.workers) + 1)

    def down(self) -> None:
        """`ray down`, once."""
        if self._up:
            self._up = False
            self._user("ray", "down", "--yes", str(self._file))

    def ray_processes(self) -> list[int]:
        """Of Ray itself, on any host."""
        hosts = (self.head, *self.workers)
        return [process for host in hosts for process in host.processes(b"gcs_server", b"raylet", b"ray::")]

    def alive(self) -> int:
        """Nodes that Ray counts, the head included."""
        told = self.head.ssh(f"python -c {shlex.quote(COUNT)}", check=False).stdout
        return int(told) if told.strip().isdigit() else 0

    def await_alive(self, nodes: int) -> None:
        """Wait until Ray counts so many."""
        wait_for(lambda: self.alive() == nodes, every=ASKED_EVERY_S)

    def submit(self, *words: str | Path) -> str:
        """Submit a job on the head, as `ray job submit` does; its id."""
        told = self.head.ssh(
            f"ray job submit --address http://127.0.0.1:8265 --no-wait -- {' '.join(map(str, words))}"
        ).stdout
        found = re.search(r"raysubmit_\w+", told)
        assert found, told
        return found[0]

    def status(self, job: str) -> str:
        """How the job ended: succeeded, failed or stopped; empty before that."""
        told = self.head.ssh(f"ray job status --address http://127.0.0.1:8265 {job}", check=False).stdout
        found = re.search(r"(succeeded|failed|was stopped)", told)
        return found[0] if found else ""

    def logs(self, job: str) -> str:
        return self.head.ssh(f"ray job logs --address http://127.0.0.1:8265 {job}", check=False).stdout

    def wait(self, job: str) -> str:
        """Wait until the job has succeeded; what it printed."""
        ended = wait_for(lambda: self.status(job), every=ASKED_EVERY_S)
        logs = self.logs(job)
        assert ended == "succeeded", logs
        return logs

    def _user(self, *command: str) -> str:
        """A command in the checkout of the user, who has a home of their own."""
        environment = {
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "HOME": str(self._home),
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def cluster(*roles: str) -> Iterator[Cluster]:
    """A cluster that is up, of a head and workers with these roles, with a folder that all hosts share."""
    require_hosts()
    with network(1 + len(roles)) as (hosts, here, key):
        shared = key.parent / "shared"
        shared.mkdir()
        made = Cluster(hosts, here, key, shared, list(roles))
        made.up()
        try:
            yield made
        finally:
            made.down()


def model_digest(run: Path) -> str:
    """Of a finished run."""
    return str(json.loads((run / "finished.json").read_text())["model_digest"])
