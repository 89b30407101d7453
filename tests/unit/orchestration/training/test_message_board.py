"""The board in the process of the only worker: messages are handed on at once, words are kept."""

import pytest

from orchestration.training.message_board import Board, LocalBoard, MessageBoard, RemoteBoard
from orchestration.training.train import _board


def test_a_local_board_hands_messages_on_at_once_in_their_order_and_keeps_none():
    heard = []
    board = LocalBoard(heard.append)
    for message in ("a", "b", 3):
        board.post(message)
        assert heard[-1] == message
    assert heard == ["a", "b", 3]
    assert board.take() == []


def test_a_board_elsewhere_gives_each_message_once():
    board = MessageBoard()
    board.post("a")
    board.post("b")
    assert board.take() == ["a", "b"]
    assert board.take() == []


@pytest.mark.parametrize("make", [MessageBoard, lambda: LocalBoard(print)], ids=["actor", "local"])
def test_words_on_the_board(make):
    board = make()
    assert board.why_give_up() is None
    board.give_up({"unusable": "first"})
    board.give_up({"storage": "second"})
    assert board.why_give_up() == {"unusable": "first"}

    assert not board.stop_requested()
    board.pause()
    assert board.stop_requested()
    board.go_on()
    assert not board.stop_requested()
    board.stop()
    board.go_on()
    assert board.stop_requested()

    assert board.paused()
    board.begin_work()
    assert not board.paused()
    board.end_work()
    assert board.paused()

    board.reserve("p")
    board.reserve("q")
    assert board.reserved() == ["p", "q"]


@pytest.mark.parametrize("kind", [MessageBoard, LocalBoard, RemoteBoard])
def test_every_board_has_all_that_a_board_is_asked(kind):
    asked = {name for name in vars(Board) if not name.startswith("_")}
    assert asked <= {name for name in dir(kind) if callable(getattr(kind, name))}


def test_who_watches_here_may_ask_for_an_end_by_what_it_says():
    heard = []

    def watch(message) -> bool:
        heard.append(message)
        return message != "enough"

    with _board(watch, here=True) as board:
        assert isinstance(board, LocalBoard)
        board.post("a")
        assert not board.stop_requested()
        board.post("enough")
        assert board.stop_requested()
    assert heard == ["a", "enough"]
