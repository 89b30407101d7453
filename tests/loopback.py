"""Servers of other people's, each in a process of its own on loopback, that a test may kill and start again."""

import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.processes import wait_for

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens loopback whatever proxy the machine has for the rest of the world."""


def quiet_port() -> int:
    """
    A free port that stays free while the server is away.

    Outside the range of which the system gives ports to other programs (from 32768), and that of Ray's workers.
    """
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    pytest.fail("not one port of 100 is free")


class ServerProcess:
    """`python -m COMMAND --port PORT` of a server that answers GET /health."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        self.port = quiet_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", *command, "--port", str(self.port)]
        self._log = log
        # Servers start programs that are installed beside Python.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(lambda: self.answers() or process.poll() is not None, 120)
        assert self.answers(), self._log.read_text()

    def answers(self) -> bool:
        """Whether it is up."""
        with (
            suppress(OSError, HTTPException),
            NO_PROXY.open(f"{self.uri}/health", timeout=2) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def kill(self) -> None:
        """End it and all its processes at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
