"""The watch over Ray's process: it speaks when that dies, and only then."""

import subprocess
import sys
import threading

import pytest

from orchestration import raylet_watch
from orchestration.raylet_watch import watched


@pytest.fixture
def raylet():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_death_is_noticed(raylet, monkeypatch):
    monkeypatch.setattr(raylet_watch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(raylet_watch, "GRACE_SECONDS", 0.01)
    noticed = threading.Event()
    with watched(raylet, noticed.set):
        assert not noticed.wait(0.1)
        raylet.kill()
        assert noticed.wait(10)


def test_an_end_after_the_block_is_none(raylet, monkeypatch):
    monkeypatch.setattr(raylet_watch, "POLL_SECONDS", 0.01)
    noticed = threading.Event()
    with watched(raylet, noticed.set):
        pass
    raylet.kill()
    assert not noticed.wait(0.1)


def test_a_block_that_ends_soon_after_the_raylet_may_end_in_its_own_way(raylet, monkeypatch):
    monkeypatch.setattr(raylet_watch, "POLL_SECONDS", 0.01)
    noticed = threading.Event()
    with watched(raylet, noticed.set):
        raylet.kill()
        raylet.wait()
    assert not noticed.wait(0.1)


def test_nobody_is_watched():
    with watched(None, lambda: pytest.fail("there was nobody")):
        pass


def test_the_process_ends_with_a_word():
    script = (
        "import subprocess, sys, time; from orchestration.raylet_watch import watched\n"
        "with watched(subprocess.Popen([sys.executable, '-c', ''])): time.sleep(60)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == raylet_watch.MESSAGE
