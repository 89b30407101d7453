"""Workers of a raylet that ended: those that hang are ended, others and what is no worker are left alone."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from orchestration import leftover_workers
from orchestration.leftover_workers import none_left

RAYLET = """
import subprocess, sys
for title in sys.argv[1:]:
    child = subprocess.Popen([title, "-c", "input()"], executable=sys.executable, stdin=subprocess.PIPE)
    print(child.pid, flush=True)
input()
"""
"""Its children wait for their standard input, which ends with it."""
STUBBORN = "import time; time.sleep(60)"
"""A child that does not."""


@pytest.fixture
def start(monkeypatch):
    """Starts a process with a child of each title; returns it and the children's process ids."""
    monkeypatch.setattr(leftover_workers, "PATIENCE_SECONDS", 0.2)
    started, children = [], []

    def raylet(*titles, child="input()"):
        process = subprocess.Popen(
            [sys.executable, "-c", RAYLET.replace("input()", child, 1), *titles],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        pids = [int(process.stdout.readline()) for _ in titles]
        for pid, title in zip(pids, titles, strict=True):
            children.append(os.pidfd_open(pid))
            await_title(pid, title)
        return process, pids

    yield raylet
    for child in children:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)
    for process in started:
        process.kill()
        process.communicate()


def await_title(pid, title):
    """Until the process shows its title: Popen returns when exec can no longer fail, which is a moment before."""
    deadline = time.monotonic() + 10
    while not (shown := Path(f"/proc/{pid}/cmdline").read_bytes()).startswith(title.encode()):
        assert time.monotonic() < deadline, shown
        time.sleep(0.001)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid):
    """Whether it ends soon."""
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


def test_a_worker_that_hangs_does_not_outlive_its_raylet(start):
    raylet, (worker, agent) = start("ray::MapWorker(Hung)", "agent", child=STUBBORN)
    with none_left(raylet):
        raylet.kill()
        raylet.wait()
        assert lives(worker)
    assert gone(worker)
    assert lives(agent)


def test_workers_that_end_by_themselves_are_not_waited_for(start, monkeypatch):
    monkeypatch.setattr(leftover_workers, "PATIENCE_SECONDS", 60.0)
    raylet, (worker,) = start("ray::IDLE")
    began = time.monotonic()
    with none_left(raylet):
        raylet.kill()
    assert time.monotonic() - began < 30
    assert gone(worker)


def test_an_error_in_the_block_ends_them_at_once(start):
    raylet, (worker,) = start("ray::MapWorker(Hung)", child=STUBBORN)
    with pytest.raises(KeyboardInterrupt), none_left(raylet):
        raise KeyboardInterrupt
    assert gone(worker)


def test_where_ray_is_anothers_there_is_nothing_to_end():
    with none_left(None):
        pass
