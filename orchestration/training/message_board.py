"""How workers tell the driver, and each other, what they are doing: a small actor that outlives them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipelines.ray_actors import beside_driver


class MessageBoard:
    """Messages in the order in which they came, each read once; why the work cannot go on; whether it is to end."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.obstacle: dict[str, str] | None = None
        self.stopping = False
        self.pausing = False
        self.working = False

    def post(self, message: Any) -> None:
        self.messages.append(message)

    def take(self) -> list[Any]:
        taken, self.messages = self.messages, []
        return taken

    def give_up(self, obstacle: dict[str, str]) -> None:
        """Leave word, as a worker would return it, that to start again would not help; the first word stands."""
        self.obstacle = self.obstacle or obstacle

    def why_give_up(self) -> dict[str, str] | None:
        return self.obstacle

    def stop(self) -> None:
        """Ask the workers to end after the step they are at."""
        self.stopping = True

    def stop_requested(self) -> bool:
        return self.stopping or self.pausing

    def pause(self) -> None:
        """Ask the workers to end after the step they are at, as others will take over from them."""
        self.pausing = True

    def go_on(self) -> None:
        """Take back `pause`."""
        self.pausing = False

    def begin_work(self) -> None:
        self.working = True

    def end_work(self) -> None:
        self.working = False

    def paused(self) -> bool:
        """Whether no worker trains any more, with all that it saved on disk."""
        return not self.working


@contextmanager
def watched(show: Callable[[Any], None], *, every_s: float = 0.5) -> Iterator[Any]:
    """A board whose messages are handed to `show`, in a thread of the driver, as long as the block runs."""
    board: Any = (
        ray.remote(MessageBoard).options(**beside_driver(), max_restarts=-1, max_task_retries=-1).remote()
    )
    done = threading.Event()

    def poll() -> None:
        finished = False
        while not finished:
            finished = done.wait(every_s)
            try:
                messages = ray.get(board.take.remote())
            except ray.exceptions.RayError:
                return  # its node was lost: the work goes on without a progress line
            for message in messages:
                show(message)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield board
    finally:
        done.set()
        thread.join()
        ray.kill(board)
