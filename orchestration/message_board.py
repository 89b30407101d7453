"""How workers tell the driver what they are doing: a small actor that the driver reads while it waits."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray


@ray.remote(num_cpus=0)
class MessageBoard:
    """Messages in the order in which they came, each read once."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def post(self, message: Any) -> None:
        self.messages.append(message)

    def take(self) -> list[Any]:
        taken, self.messages = self.messages, []
        return taken


@contextmanager
def watched(show: Callable[[Any], None], *, every_s: float = 0.5) -> Iterator[Any]:
    """A board whose messages are handed to `show`, in a thread of the driver, as long as the block runs."""
    board = MessageBoard.remote()  # type: ignore[attr-defined]
    done = threading.Event()

    def poll() -> None:
        finished = False
        while not finished:
            finished = done.wait(every_s)
            for message in ray.get(board.take.remote()):
                show(message)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield board
    finally:
        done.set()
        thread.join()
        ray.kill(board)
