"""What the measurement of an evaluation's memory counts and notes; no evaluation is run."""

import subprocess
import sys

from benchmarks import evaluation_memory
from benchmarks.evaluation_memory import MemoryByClip, processes_mb

KINDS = ("driver", "actor", "ray")


def test_memory_is_noted_by_the_clips_that_were_scored(tmp_path, monkeypatch):
    scores = tmp_path / "scores"
    memory = MemoryByClip(scores, 6, [1, 3])
    memory.note()
    for resident in (
        0,
        100,
        90,
        110,
        120,
        115,
        999,
    ):  # beside the first line, of what they are, and six scores
        found = {"resident": resident, "anonymous": resident // 2}
        monkeypatch.setattr(
            evaluation_memory, "processes_mb", lambda found=found: dict.fromkeys(KINDS, found)
        )
        with scores.open("a") as file:
            file.write("{}\n")
        memory.note()
    assert memory.by_clip == {"1": noted(100, 50), "3": noted(110, 55)}
    assert memory.latest == noted(120, 57)


def noted(most, anonymous):
    return {"most": dict.fromkeys(KINDS, most), "anonymous": dict.fromkeys(KINDS, anonymous)}


def test_an_actor_is_told_from_other_processes():
    holding = "held = bytearray(b'x') * 40_000_000; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holding, "ClipScorer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as actor:
        actor.stdout.readline()
        found = processes_mb()
        actor.communicate(b"\n")
    assert 40 <= found["actor"]["anonymous"] < 80
    assert found["driver"]["resident"] > found["driver"]["anonymous"] > 0
    assert processes_mb()["actor"] == {}
