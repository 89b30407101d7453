"""The board in the process of the only worker: messages are handed on at once, words are kept."""

from types import SimpleNamespace

import pytest

from orchestration.training import message_board
from orchestration.training.message_board import Board, LocalBoard, MessageBoard, RemoteBoard, watched
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


class Keeping:
    """Records that remember what they were given, and what they were asked."""

    def __init__(self) -> None:
        self.asked = []

    def take(self, message) -> None:
        self.asked.append(message)

    def settle(self) -> None:
        self.asked.append("settle")


def test_who_watches_here_may_ask_for_an_end_by_what_it_says():
    heard = []

    def watch(message) -> bool:
        heard.append(message)
        return message != "enough"

    records = Keeping()
    with _board(watch, records, here=True) as board:
        assert isinstance(board, LocalBoard)
        board.post("a")
        assert not board.stop_requested()
        board.post("enough")
        assert board.stop_requested()
        board.settle()
    assert heard == ["a", "enough"]
    assert records.asked == ["a", "enough", "settle"]


class Call:
    """A method of an actor, called here."""

    def __init__(self, method) -> None:
        self.remote = method


class ActorHere:
    """Stands for the board's actor."""

    def __init__(self) -> None:
        self.board = MessageBoard()

    def __getattr__(self, name):
        return Call(getattr(self.board, name))


@pytest.fixture
def actor_here(monkeypatch):
    """Boards in actors are boards in this process."""
    actor = ActorHere()
    monkeypatch.setattr(
        message_board.ray,
        "remote",
        lambda _: SimpleNamespace(options=lambda **__: Call(lambda: actor)),
    )
    monkeypatch.setattr(message_board.ray, "get", lambda found: found)
    monkeypatch.setattr(message_board.ray, "kill", lambda _: None)
    monkeypatch.setattr(message_board, "beside_driver", dict)


def test_settling_waits_until_all_that_was_posted_is_kept(actor_here):
    order = []
    with watched(order.append, settle=lambda: order.append("kept"), every_s=0.01) as board:
        board.post("a")
        board.post("b")
        board.settle()
        assert order[-1] == "kept"
        assert [entry for entry in order if entry != "kept"] == ["a", "b"]


def test_the_actor_holds_messages_as_bytes(actor_here):
    """It would load all that they are made of, torch included, before it could answer."""
    board = RemoteBoard(ActorHere())
    board.post(SimpleNamespace(step=3))
    assert [type(message) for message in board.actor.board.messages] == [bytes]


def test_settling_ends_where_nobody_deals_with_messages(actor_here, monkeypatch):
    monkeypatch.setattr(message_board, "SETTLE_LIMIT_S", 0.05)
    board = RemoteBoard(ActorHere())
    board.post("a")
    board.settle()
    assert board.actor.board.counts() == (1, 0)
