"""How workers tell the driver, and each other, what they are doing: a small actor that outlives them.

Where the only worker trains in the driver's own process, there is a board in that process instead.
"""

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import ray

from pipelines.ray_actors import beside_driver

POLL_S = 0.2
SETTLE_LIMIT_S = 30.0
"""How long a worker waits for a driver that does not deal with messages."""


class Board(Protocol):
    """What workers, Ray Train's controller and the driver see of a MessageBoard, wherever it is.

    Any call may raise a RayError where the board was lost with its node.
    """

    def post(self, message: Any) -> None: ...
    def settle(self) -> None: ...
    def give_up(self, obstacle: dict[str, str]) -> None: ...
    def why_give_up(self) -> dict[str, str] | None: ...
    def stop(self) -> None: ...
    def stop_requested(self) -> bool: ...
    def pause(self) -> None: ...
    def go_on(self) -> None: ...
    def begin_work(self) -> None: ...
    def end_work(self) -> None: ...
    def paused(self) -> bool: ...
    def reserve(self, place: str) -> None: ...
    def reserved(self) -> list[str]: ...


class MessageBoard:
    """Messages in the order in which they came, each read once; why the work cannot go on; whether it is to end."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.posted = self.dealt_with = 0
        self.obstacle: dict[str, str] | None = None
        self.stopping = False
        self.pausing = False
        self.working = False
        self.places: list[str] = []

    def post(self, message: Any) -> None:
        self.messages.append(message)
        self.posted += 1

    def take(self) -> list[Any]:
        taken, self.messages = self.messages, []
        return taken

    def deal(self, messages: int) -> None:
        """So many more of the messages that were taken have been dealt with."""
        self.dealt_with += messages

    def counts(self) -> tuple[int, int]:
        """Messages posted, and messages dealt with."""
        return self.posted, self.dealt_with

    def settle(self) -> None:
        """Wait until all that was posted has been dealt with."""

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

    def reserve(self, place: str) -> None:
        """Remember a placement group that workers were given."""
        self.places.append(place)

    def reserved(self) -> list[str]:
        return self.places


class RemoteBoard:
    """A board in an actor, for any process that has its handle; what is only told is not waited for."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def post(self, message: Any) -> None:
        # As bytes: whoever reads messages imports the classes they are of, and a board need not load torch for that.
        self.actor.post.remote(pickle.dumps(message))

    def settle(self) -> None:
        deadline = time.monotonic() + SETTLE_LIMIT_S
        posted, dealt_with = ray.get(self.actor.counts.remote())
        while dealt_with < posted and time.monotonic() < deadline:
            time.sleep(POLL_S / 2)
            dealt_with = ray.get(self.actor.counts.remote())[1]

    def give_up(self, obstacle: dict[str, str]) -> None:
        ray.get(self.actor.give_up.remote(obstacle))

    def why_give_up(self) -> dict[str, str] | None:
        found: dict[str, str] | None = ray.get(self.actor.why_give_up.remote())
        return found

    def stop(self) -> None:
        self.actor.stop.remote()

    def stop_requested(self) -> bool:
        return bool(ray.get(self.actor.stop_requested.remote()))

    def pause(self) -> None:
        self.actor.pause.remote()

    def go_on(self) -> None:
        self.actor.go_on.remote()

    def begin_work(self) -> None:
        self.actor.begin_work.remote()

    def end_work(self) -> None:
        self.actor.end_work.remote()

    def paused(self) -> bool:
        return bool(ray.get(self.actor.paused.remote()))

    def reserve(self, place: str) -> None:
        ray.get(self.actor.reserve.remote(place))

    def reserved(self) -> list[str]:
        found: list[str] = ray.get(self.actor.reserved.remote())
        return found


class LocalBoard(MessageBoard):
    """A board in the process of the only worker, which hands its messages on at once."""

    def __init__(self, show: Callable[[Any], object], settle: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._show, self._settle = show, settle

    def post(self, message: Any) -> None:
        self._show(message)

    def settle(self) -> None:
        self._settle()


@contextmanager
def watched(
    show: Callable[[Any], object], *, settle: Callable[[], object] = lambda: None, every_s: float = POLL_S
) -> Iterator[RemoteBoard]:
    """A board whose messages are handed to `show`, in a thread of the driver, as long as the block runs.

    They count as dealt with when `settle` has returned after that.
    """
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
                show(pickle.loads(message))
            if messages:
                settle()
                board.deal.remote(len(messages))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield RemoteBoard(board)
    finally:
        done.set()
        thread.join()
        ray.kill(board)
