"""Hosts of a small network on this machine, for tests of clusters: each with its own network, processes and home.

A host is a network namespace on a bridge, a process namespace and a mount namespace, in which root's home is a folder
of the host's own; sshd is its first process, so that killing that one is pulling the plug. They share processors and
disk with this machine. The installation is this one: what `make setup` would do is taken as done.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.processes import wait_for

NEEDED = ("ip", "unshare", "sshd", "ssh", "ssh-keygen", "rsync", "git", "make", "curl")
PACKAGES = ("iproute2", "util-linux", "openssh-server", "openssh-client", "rsync", "git", "make", "curl")
SBIN = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


def require_hosts() -> None:
    """Skip the test, saying why, where this machine cannot have hosts within; install what is only missing."""
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("hosts on one machine need Linux and root (network namespaces)")
    if _missing() and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(["apt-get", "update", "-q"], **quiet, timeout=120, check=False)  # type: ignore[call-overload]
            subprocess.run(["apt-get", "install", "-q", "-y", *PACKAGES], **quiet, timeout=300, check=False)  # type: ignore[call-overload]
    if missing := _missing():
        pytest.skip(f"hosts on one machine need {', '.join(missing)}")
    probe = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--uts", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip(f"this system allows no namespaces: {probe.stderr.strip()}")


def _missing() -> list[str]:
    return [name for name in NEEDED if shutil.which(name, path=SBIN) is None]


def run(*command: str | Path, check: bool = True) -> str:
    """A command's output."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """One host; `start` and `kill` may follow each other."""

    def __init__(self, name: str, address: str, bridge: str, folder: Path, key: Path) -> None:
        self.name, self.address = name, address
        self.home = folder / name
        self._bridge, self._key = bridge, key
        self._process: subprocess.Popen[bytes] | None = None
        self.home.mkdir()
        (self.home / ".ssh").mkdir(mode=0o700)
        shutil.copy(key.with_suffix(".pub"), self.home / ".ssh" / "authorized_keys")
        (self.home / "passwd").write_text(
            f"root:x:0:0:root:{self.home}:/bin/bash\nsshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        (self.home / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
        (
            self.home / "resolv.conf"
        ).touch()  # no name server: to wait for one that is out of reach takes seconds
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.home / "host_key")
        _take_as_installed(self.home / "lia" / ".venv")

    def plug(self) -> None:
        """Connect it to the bridge."""
        name, address = self.name, self.address
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"{name}b", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"{name}b", "master", self._bridge, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            # Leads nowhere; by it programs find out which address is their own.
            ("route", "add", "default", "via", f"{address.rpartition('.')[0]}.1"),
        ):
            run("ip", "-n", name, *words)

    def start(self) -> None:
        """Boot: the first process is sshd."""
        options = {
            "HostKey": self.home / "host_key",
            "ListenAddress": self.address,
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "MaxStartups": "100",
        }
        words = " ".join(f"-o {name}={value}" for name, value in options.items())
        script = (
            f"for file in passwd hosts resolv.conf; do mount --bind {self.home}/$file /etc/$file || exit 1; done; "
            f"hostname {self.name} && "
            f"exec $(command -v sshd) -D -e -f /dev/null {words}"
        )
        with (self.home / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "--pid", "--fork"),
                    *("--kill-child", "--mount-proc", "sh", "-c", script),
                ],
                env={"PATH": SBIN},
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: self.ssh("true", check=False).returncode == 0, 60)

    def kill(self) -> None:
        """Pull the plug: all its processes are gone at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
            wait_for(lambda: not self.processes(), 60)

    def link(self, up: bool) -> None:
        """Plug the cable in or out."""
        run("ip", "link", "set", f"{self.name}b", "up" if up else "down")

    def ssh(
        self, command: str, *, check: bool = True, seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        words = [
            *("ssh", "-i", self._key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"),
            *(f"root@{self.address}", command),
        ]
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, check=False, timeout=seconds
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def processes(self, *words: bytes) -> list[int]:
        """Its processes, seen from outside, whose command line holds one of the words (any, if none is given)."""
        mine = os.stat(f"/run/netns/{self.name}").st_ino
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino == mine:
                    command = (entry / "cmdline").read_bytes()
                    if not words or any(word in command for word in words):
                        found.append(int(entry.name))
        return found

    def remove(self) -> None:
        """End the host, and what the network has of it."""
        self.kill()
        run("ip", "netns", "del", self.name, check=False)
        run("ip", "link", "del", f"{self.name}b", check=False)


def _take_as_installed(venv: Path) -> None:
    """An environment as `make setup` leaves it, whose programs are this environment's with the host's own checkout."""
    (venv / "bin").mkdir(parents=True)
    for program in ("python", "ray", "mlflow", "gunicorn", "uvicorn"):
        ours = Path(sys.prefix) / "bin" / program
        if ours.exists():
            _script(venv / "bin" / program, f'exec {ours} "$@"')
    _script(venv / "bin" / "lia", f'exec {sys.prefix}/bin/python -m orchestration.cli "$@"')
    marker = venv / ".installed"
    marker.touch()
    os.utime(marker, (time.time() + 10**6,) * 2)  # newer than whatever is copied there


def _script(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexport PYTHONPATH="$HOME/lia" OMP_NUM_THREADS=1\n{command}\n')
    path.chmod(0o755)


_networks = itertools.count(os.getpid() % 200)


@contextmanager
def network(count: int) -> Iterator[tuple[list[Host], str, Path]]:
    """So many hosts on a bridge; yields them, this machine's address on it and the key that opens them all."""
    # A test that was killed may have left its bridge.
    number = next(n for n in (20 + n % 200 for n in _networks) if not Path(f"/sys/class/net/lia{n}").exists())
    bridge, prefix = f"lia{number}", f"10.213.{number}"
    # Short, as Ray's sockets lie below.
    folder = Path(tempfile.mkdtemp(prefix="lia", dir="/var/tmp"))
    folder.chmod(0o755)
    hosts: list[Host] = []
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    try:
        key = folder / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "addr", "add", f"{prefix}.1/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        for index in range(count):
            hosts.append(Host(f"lia{number}h{index}", f"{prefix}.{10 + index}", bridge, folder, key))
            hosts[-1].plug()
            hosts[-1].start()
        yield hosts, f"{prefix}.1", key
    finally:
        for host in hosts:
            host.remove()
        run("ip", "link", "del", bridge, check=False)
        shutil.rmtree(folder, ignore_errors=True)
