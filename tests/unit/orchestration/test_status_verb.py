"""`lia status` as a command: once, again and again, and how it ends."""

import os
import time
from dataclasses import replace

import pytest

from orchestration.cli import main
from orchestration.status import gather as gathering
from orchestration.status.dashboard import Cluster
from orchestration.status.gather import Status

EMPTY = Status(
    at=0.0, cluster=None, preparations=[], trainings=[], sweeps=[], left_out={}, unreached=[]
)  # fmt: skip
FOUND = replace(EMPTY, cluster=Cluster(address="http://h:8265", jobs=(), machines=()))


@pytest.fixture
def seen(monkeypatch):
    """What is found, which a test may change, and what was asked for."""
    asked = []

    def gather(address, outs):
        asked.append((address, outs))
        return found[0]

    found = [FOUND]
    monkeypatch.setattr(gathering, "gather", gather)
    return found, asked


def test_one_look(seen, capsys):
    assert main(["status", "--address", "http://h:1"]) == 0
    assert seen[1] == [("http://h:1", None)]
    assert "JOBS         http://h:8265\n  none was submitted" in capsys.readouterr().out


def test_nothing_found_is_status_1(seen):
    seen[0][0] = EMPTY
    assert main(["status"]) == 1


def test_watching_goes_on_until_it_is_interrupted(seen, monkeypatch, capsys):
    def sleep(seconds: float) -> None:
        if len(seen[1]) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["status", "--watch", "5"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("JOBS") == 3
    assert "\x1b" not in printed, "it is no terminal"


def test_a_source_that_never_answers_does_not_keep_the_command(seen, monkeypatch):
    seen[0][0] = replace(EMPTY, stuck=True)
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    main(["status"])
    assert left == [1]
