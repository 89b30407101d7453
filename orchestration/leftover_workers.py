"""End Ray's worker processes that would outlive the Ray of this machine.

An actor that nobody holds any more takes leave of its raylet, ceases to look whether that lives, and ends its threads
and those of native libraries. Should it hang there, nobody ends it: for the raylet it is gone already.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_SECONDS = 5.0
"""What workers get to end by themselves; a raylet that ends kills those it knows of, so that few need any."""
_TITLE = b"ray::"


@contextmanager
def none_left(raylet: "subprocess.Popen[bytes] | None") -> Iterator[None]:
    """Kill what `raylet` has of workers when the block begins and is still there PATIENCE_SECONDS after its end.

    Nothing happens for None, nor on systems without pidfd, which names a process for good (Linux has it).
    """
    held = _hold(_workers_of(raylet.pid)) if raylet and hasattr(os, "pidfd_open") else []
    try:
        yield
        _await(held)
    finally:
        for process in held:
            with suppress(ProcessLookupError):  # it ended by itself
                signal.pidfd_send_signal(process, signal.SIGKILL)
            os.close(process)


def _workers_of(raylet: int) -> list[int]:
    """Process ids of the raylet's children that Ray titled as workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet and (folder / "cmdline").read_bytes().startswith(_TITLE):
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended
    return found


def _hold(pids: list[int]) -> list[int]:
    held = []
    for pid in pids:
        with suppress(ProcessLookupError):
            held.append(os.pidfd_open(pid))
    return held


def _await(held: list[int]) -> None:
    """Until all have ended, for PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for process in held:
        waiting = select.poll()
        waiting.register(process, select.POLLIN)
        waiting.poll(1000 * max(0.0, deadline - time.monotonic()))
