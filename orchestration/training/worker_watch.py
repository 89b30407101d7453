"""Whether workers are at work. Ray starts them, and waits for machines that have room for them, without a word."""

import threading
import time
from types import TracebackType

import ray

from orchestration.training.message_board import Board
from orchestration.training.records import say
from pipelines.placement import VARIABLES, kind

ASKED_EVERY_S = 2.0
IDLE_AFTER_S = 6.0
"""Without work that long no worker is about to end one: a training that is over takes less to come to its end."""
SAID_AFTER_S = 60.0


class WorkerWatch:
    """Looks at the board, in a thread, as long as the block runs; says so where no worker has been at work for long."""

    def __init__(self, board: Board, workers: int) -> None:
        self._board, self._workers = board, workers
        self._over = threading.Event()
        self._idle_since: float | None = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="worker-watch")

    def __enter__(self) -> "WorkerWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def idle(self) -> bool:
        """Whether there is no step in hand that could be waited for."""
        return self._idle_for() >= IDLE_AFTER_S

    def _idle_for(self) -> float:
        since = self._idle_since
        return 0.0 if since is None else time.monotonic() - since

    def _watch(self) -> None:
        said = False
        while not self._over.wait(ASKED_EVERY_S):
            try:
                working = not self._board.paused()
            except ray.exceptions.RayError:  # the board was lost with its node
                self._idle_since = None
                return
            if working:
                self._idle_since, said = None, False
            elif self._idle_since is None:
                self._idle_since = time.monotonic()
            if not said and self._idle_for() >= SAID_AFTER_S:
                said = True
                say(self._words())

    def _words(self) -> str:
        name = kind("train")
        offering = f" that offer {name} ({VARIABLES['train']})" if name else ""
        return (
            f"no worker has been at work for {SAID_AFTER_S:.0f} s: Ray is starting {self._workers}, or waits for "
            f"machines{offering} with room for them. Ctrl-C ends that at once"
        )
