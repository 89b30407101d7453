"""The processes of a test's Ray cluster, found in /proc: to kill some and to see that others are at work."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

PATIENCE = 1200.0
"""Seconds a test waits for another process: on a busy machine starting Ray Train alone takes minutes."""

# How Ray titles a process while it runs a task of prepare.
WORKING = b"ray::Map(_Worker)"


def wait_for(condition: Callable[[], T], seconds: float = PATIENCE, every: float = 0.005) -> T:
    """Poll until `condition` gives something; that something. Where asking is work, ask less often."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every)
    pytest.fail(f"did not come about in {seconds:g} s")


def descendants(root: int, *words: bytes) -> list[int]:
    """Processes below `root` whose command line holds one of `words`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if any(word in command for word in words) and root in ancestors(int(entry.name)):
            found.append(int(entry.name))
    return sorted(found)


def working_processes(root: int | None = None) -> list[int]:
    """Those below `root` (this process) that run a task of prepare just now."""
    return descendants(os.getpid() if root is None else root, WORKING)


def ancestors(pid: int) -> list[int]:
    """Parents of a process up to the first; as far as they still exist."""
    parents = []
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
        parents.append(pid)
    return parents
