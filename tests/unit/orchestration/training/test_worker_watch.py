"""Whether workers are at work, and what is said where none is."""

import pytest
import ray.exceptions

from orchestration.training import worker_watch
from orchestration.training.message_board import MessageBoard
from orchestration.training.worker_watch import WorkerWatch
from tests.processes import wait_for

PATIENCE = 20.0


@pytest.fixture
def said(monkeypatch):
    """What was said, by a watch that is in a hurry."""
    words = []
    monkeypatch.setattr(worker_watch, "say", words.append)
    monkeypatch.setattr(worker_watch, "ASKED_EVERY_S", 0.01)
    monkeypatch.setattr(worker_watch, "IDLE_AFTER_S", 0.05)
    monkeypatch.setattr(worker_watch, "SAID_AFTER_S", 0.1)
    return words


def test_who_waits_for_workers_is_told_so_once(said, monkeypatch):
    monkeypatch.setattr(worker_watch, "kind", lambda work: "train_node")
    with WorkerWatch(MessageBoard(), 8) as watch:
        wait_for(lambda: said, PATIENCE)
        watch._over.wait(0.3)
        assert watch.idle()
    assert len(said) == 1
    assert (
        "Ray is starting 8, or waits for machines that offer train_node (LIA_TRAIN_ON) with room" in said[0]
    )


def test_workers_at_work_are_not_idle_until_they_are_lost(said):
    board = MessageBoard()
    board.begin_work()
    with WorkerWatch(board, 2) as watch:
        watch._over.wait(0.3)
        assert not watch.idle()
        assert said == []
        board.end_work()
        wait_for(watch.idle, PATIENCE)
        wait_for(lambda: said, PATIENCE)


def test_of_a_board_that_is_lost_nothing_is_known(said, monkeypatch):
    board = MessageBoard()

    def lost() -> bool:
        raise ray.exceptions.RayActorError

    monkeypatch.setattr(board, "paused", lost)
    with WorkerWatch(board, 2) as watch:
        watch._thread.join(PATIENCE)
        assert not watch.idle()
    assert said == []
