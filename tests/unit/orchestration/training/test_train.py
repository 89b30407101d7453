"""The driver's side of training: what it says of failures, and when it begins anew after one."""

import os
import signal
import time
from pathlib import Path

import pytest
import ray.exceptions
import ray.train
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.train import (
    TrainingFailed,
    describe_failure,
    fit_while_it_advances,
    stopping_on_signals,
)


def died() -> Exception:
    """As Ray wraps the error of a worker that it could not reach."""
    return WorkerHealthCheckFailedError("could not be polled", ray.exceptions.RayActorError())


def test_the_worker_that_died_is_named_not_those_that_missed_it():
    said = describe_failure({0: RuntimeError("Connection closed by peer"), 3: died()})
    assert said.startswith("worker 3 failed (its process ended, or its machine); starting the workers again")


def test_an_error_is_told_by_its_last_line():
    said = describe_failure({1: ValueError("Traceback\n  ...\nbad value")})
    assert said == "worker 1 failed (bad value); starting the workers again from the newest checkpoint"


class Failing:
    """Leaves so many checkpoints at each call, and fails."""

    def __init__(self, folder: Path, *checkpoints: int) -> None:
        self.folder, self.checkpoints, self.step, self.calls = folder, list(checkpoints), 0, 0
        self.freed = 0

    def __call__(self) -> str:
        self.calls += 1
        if not self.checkpoints:
            return "done"
        for _ in range(self.checkpoints.pop(0)):
            self.step += 1
            (self.folder / f"step-{self.step:08d}").mkdir()
        raise ray.train.TrainingFailedError("worker failed")

    def free(self) -> None:
        self.freed += 1


def test_a_training_that_advances_is_begun_anew_without_limit(tmp_path):
    fit = Failing(tmp_path, 1, 2, 1, 3)
    assert fit_while_it_advances(fit, tmp_path, CheckpointStore(tmp_path), fit.free) == "done"
    assert fit.calls == 5
    assert fit.freed == 4


@pytest.mark.parametrize(("checkpoints", "calls"), [((0,), 1), ((2, 0, 1), 2)])
def test_a_training_that_does_not_advance_has_failed(checkpoints, calls, tmp_path):
    fit = Failing(tmp_path, *checkpoints)
    with pytest.raises(TrainingFailed, match="training failed: worker failed"):
        fit_while_it_advances(fit, tmp_path, CheckpointStore(tmp_path), fit.free)
    assert fit.calls == calls


def interrupted(*, idle: bool, times: int) -> tuple[list[int], int]:
    """Signals that came, and how often a stop was asked for, where so many Ctrl-C come."""
    asked: list[None] = []
    with stopping_on_signals(lambda: asked.append(None), idle=lambda: idle) as received:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
    return received, len(asked)


def test_the_first_signal_asks_for_a_checkpoint_and_the_second_does_not_wait():
    assert interrupted(idle=False, times=1) == ([signal.SIGINT], 1)
    with pytest.raises(KeyboardInterrupt):
        interrupted(idle=False, times=2)


def test_where_no_worker_is_at_work_the_first_signal_does_not_wait():
    with pytest.raises(KeyboardInterrupt):
        interrupted(idle=True, times=1)
