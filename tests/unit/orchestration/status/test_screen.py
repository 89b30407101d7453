"""The status as people see it, section by section, and all of it at 80 columns."""

from dataclasses import replace

import pytest

from orchestration.status.dashboard import Cluster, Job, Machine
from orchestration.status.gather import Status
from orchestration.status.screen import (
    duration,
    job_lines,
    machine_lines,
    preparation_lines,
    screen,
    sweep_lines,
    training_lines,
)
from orchestration.status.sweeps import SweepProgress
from orchestration.status.training import TrainingProgress
from orchestration.status.unreached import Unreached
from pipelines.preparation.watching import PreparationProgress

NOW = 1_000_000.0


def job(status: str, name: str, began: float, ended: float | None = None, message: str = "") -> Job:
    return Job(name=name, status=status, command="lia run x", began=began, ended=ended, message=message)


def machine(kind: str, cpus: float, **changes) -> Machine:
    plain = {
        "alive": True, "gpus": 0.0, "cpus_taken": 0.0, "gpus_taken": 0.0, "cpu_percent": 10.0, "memory": 16e9,
        "memory_used": 4e9,
    }  # fmt: skip
    return Machine(kind=kind, cpus=cpus, **(plain | changes))


def preparation(**changes) -> PreparationProgress:
    plain = {
        "state": "unfinished", "shards": 12, "shards_planned": 41, "clips": 951, "clips_planned": 3334, "failed": 37,
        "looked_at": 12, "published_at": NOW - 63,
    }  # fmt: skip
    return PreparationProgress(**(plain | changes))


def training(**changes) -> TrainingProgress:
    plain = {
        "name": "out/run-9", "experiment": "lia-x", "state": "running", "step": 12300, "steps": 800000,
        "batch_size": 64, "checkpoint": 10000, "losses": {"l1": 0.11234, "perceptual": 14.87},
        "validation": {"l1": 0.0871}, "recorded_at": NOW - 7,
        "speed": {"pairs_per_second": 412.34, "data_wait": 0.012, "workers": 16.0},
    }  # fmt: skip
    return TrainingProgress(**(plain | changes))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (187, "3:07 min"), (8049, "2:14:09 h"),
        (86400, "1 day 0 h"), (9 * 86400 + 15000, "9 days 4 h"), (float("inf"), "for ever"),
    ],
)  # fmt: skip
def test_duration(seconds, words):
    assert duration(seconds) == words


REASON = "lia run: /mnt/lia/raw: no such folder. Name the folder of the raw videos by --videos"


def test_jobs():
    jobs = (
        job("RUNNING", "raysubmit_a", NOW - 8049),
        job(
            "FAILED", "raysubmit_b", NOW - 9000, NOW - 8970, f"Job failed, last logs:\nepoch 1\n{REASON}\n\n"
        ),
        *(job("SUCCEEDED", str(number), NOW - 9000, NOW - 8000) for number in range(7)),
    )
    lines = job_lines(Cluster(address="http://h:8265", jobs=jobs, machines=()), NOW)
    assert lines[:7] == [
        "",
        "JOBS         http://h:8265",
        "  RUNNING     2:14:09 h  raysubmit_a",
        "    lia run x",
        "  FAILED           30 s  raysubmit_b",
        "    lia run: /mnt/lia/raw: no such folder. Name the folder of the raw videos by",
        "    --videos",
    ]
    assert lines[-1] == "  and 3 more"


def test_machines_by_kind():
    busy = {
        "gpus": 8.0,
        "gpus_taken": 4.0,
        "cpus_taken": 24.0,
        "gpu_percent": (90.0, 80.0),
        "gpu_memory": 640e9,
    }
    machines = [
        machine("head", 2.0),
        machine("gpu-worker", 48.0, **busy, gpu_memory_used=100e9),
        machine("gpu-worker", 48.0, **busy, gpu_memory_used=100e9),
        machine("cpu", 4.0, cpus_taken=None, cpu_percent=None, memory=None, memory_used=None),
        machine("cpu", 4.0, alive=False),
    ]
    assert machine_lines(machines) == [
        "",
        "MACHINES     4 alive, 1 gone",
        "  kind        nodes  CPUs taken   CPU  memory GB  GPUs taken   GPU    GPU GB",
        "  head            1         0/2  10 %       4/16                            ",
        "  gpu-worker      2       48/96  10 %       8/32        8/16  85 %  200/1280",
        "  cpu             1         ?/4                                             ",
    ]


def test_columns_that_say_nothing_are_left_out():
    assert machine_lines([machine("head", 2.0)])[2:] == [
        "  kind  nodes  CPUs taken   CPU  memory GB",
        "  head      1         0/2  10 %       4/16",
    ]


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        pytest.param(
            preparation(),
            [
                "unfinished: 12 of 41 shards (29.2 %), 951 of 3,334 clips (28.5 %), 37 failed",
                "the last shard came 1:03 min ago",
            ],
            id="under-way",
        ),
        pytest.param(
            preparation(shards_planned=None, clips=None, clips_planned=None, looked_at=4, published_at=None),
            ["unfinished: 12 shards, 37 failed in 4 of the shards"],
            id="of-an-earlier-release-and-looked-at-in-part",
        ),
        pytest.param(
            preparation(state="finished", shards=41, clips=3334, looked_at=41),
            ["finished: all 41 shards, all 3,334 clips, 37 failed"],
            id="finished",
        ),
        pytest.param(
            preparation(state="refused", why="too many failed"),
            [
                "refused: 12 of 41 shards (29.2 %), 951 of 3,334 clips (28.5 %), 37 failed",
                "refused: too many failed",
            ],
            id="refused",
        ),
    ],
)
def test_preparation(progress, expected):
    assert preparation_lines(progress, NOW) == expected


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        pytest.param(
            training(),
            [
                "running: step 12,300 of 800,000 (1.5 %), newest checkpoint at 10,000",
                "412.3 pairs/s, 1.2% waiting for data, 16 workers, 1 day 9 h left",
                "losses    l1 0.1123  perceptual 14.87",
                "held out  l1 0.0871",
                "last heard of 7 s ago",
            ],
            id="running",
        ),
        pytest.param(
            training(state="finished", step=800000, losses={}, validation={}, speed={}),
            ["finished: step 800,000 of 800,000, newest checkpoint at 10,000"],
            id="finished",
        ),
        pytest.param(
            training(
                state="not finished", step=0, checkpoint=None, losses={}, validation={}, speed={},
                recorded_at=None, note="its losses are not at hand: x",
            ),
            ["not finished: step 0 of 800,000 (0.0 %)", "its losses are not at hand: x"],
            id="begun-and-mlflow-away",
        ),
        pytest.param(
            training(state="killed", losses={}, validation={}, speed={"workers": 1.0}),
            [
                "killed: step 12,300 of 800,000 (1.5 %), newest checkpoint at 10,000",
                "1 worker",
                "last heard of 7 s ago",
            ],
            id="killed",
        ),
    ],
)  # fmt: skip
def test_training(progress, expected):
    assert training_lines(progress, NOW) == expected


def test_sweep():
    states = {"COMPLETE": 5, "PRUNED": 7, "RUNNING": 2}
    sweep = SweepProgress(
        name="s", trials=24, states=states, objective="l1", best=0.081234, best_trial=9,
        best_fields={"model.motion_dim": 20, "optimiser.lr": 0.00123456}, at_work=True, to_try_again=0,
    )  # fmt: skip
    assert sweep_lines(sweep) == [
        "14 of 24 trials begun (58.3 %): 5 complete, 2 running, 7 stopped early",
        "best l1 0.08123 in trial 9 (model.motion_dim 20, optimiser.lr 0.001235)",
    ]
    none = replace(sweep, trials=4, states={}, best=None, best_trial=None, best_fields={})
    assert sweep_lines(none) == ["0 of 4 trials begun (0.0 %)"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param(
            "running", "last heard of 10:00 min ago: it is slow, or has ended without a word", id="running"
        ),
        pytest.param("killed", "last heard of 10:00 min ago", id="ended"),
    ],
)
def test_of_a_training_that_is_silent_no_time_left_is_told(state, words):
    lines = training_lines(training(state=state, recorded_at=NOW - 600), NOW)
    assert lines[-1] == words
    assert not any(line.endswith("left") for line in lines)


def test_figures_that_are_too_many_for_a_line_go_to_the_next():
    told = training(losses={"generator": 2.0444, "l1": 0.1, "discriminator": 0.6931}, validation={})
    assert [line for line in training_lines(told, NOW, 42) if "l1" in line or "disc" in line] == [
        "losses    generator 2.044  l1 0.1",
        "          discriminator 0.6931",
    ]


def test_a_sweep_that_nobody_works_on():
    states = {"COMPLETE": 5, "RUNNING": 1}
    left = SweepProgress(
        name="sweeps/s", trials=6, states=states, objective="l1", best=None, best_trial=None, best_fields={},
        at_work=False, to_try_again=0,
    )  # fmt: skip
    assert sweep_lines(left) == [
        "all 6 trials begun: 5 complete, 1 left half done",
        "nothing is at work on it: `lia sweep --resume sweeps/s` goes on",
    ]
    assert len(sweep_lines(replace(left, states={"COMPLETE": 6}))) == 1
    assert len(sweep_lines(replace(left, states={"COMPLETE": 3, "FAIL": 3}, to_try_again=2))) == 2
    assert len(sweep_lines(replace(left, states={"COMPLETE": 5}))) == 2


def test_the_whole_screen_fits_and_nothing_in_it_commands_the_terminal():
    hostile = job("RUNNING", "a\x1b[31m" + "b" * 200, NOW)
    status = Status(
        at=NOW,
        cluster=Cluster(address="http://h:8265", jobs=(hostile,), machines=(machine("head", 2.0),)),
        preparations=[("s3://bucket/data", preparation())],
        trainings=[training()],
        sweeps=[],
        left_out={"datasets": 0, "trainings": 3, "sweeps": 0},
        unreached=[Unreached("MLflow", "x" * 30 + ": does not answer", "Start it, " + "or correct it " * 9)],
    )
    lines = screen(status, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    assert "3 more trainings: older or finished; --out names one" in lines
    assert [line.split()[0] for line in lines if line[:1].isupper()] == [
        "JOBS", "MACHINES", "PREPARATION", "TRAINING", "NOT",
    ]  # fmt: skip
    assert lines[-3].startswith("  MLflow: xxx")
