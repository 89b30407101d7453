"""Which video is attempted when: the rate limit, the waits after failures, and when to stop. Plain arithmetic."""

import heapq
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable

from pipelines.download.config import RETRY_AFTER_LIMIT_SECONDS, DownloadConfig
from pipelines.download.reasons import ASKER, RETRIED, Refused


class Schedule:
    """The videos still to be attempted. `clock` gives seconds; `luck` a number from 0 to 1 for each wait."""

    def __init__(
        self,
        video_ids: Iterable[str],
        config: DownloadConfig,
        clock: Callable[[], float] = time.monotonic,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._config, self._clock, self._luck = config, clock, luck
        self._spacing = 60 / config.per_minute if config.per_minute else 0.0
        self._waiting = [(-math.inf, number, video_id) for number, video_id in enumerate(video_ids)]
        heapq.heapify(self._waiting)
        self._next_start = -math.inf
        self._in_a_row = 0
        self.attempts: Counter[str] = Counter()
        """Attempts begun, by video."""

    def start(self) -> str | None:
        """A video whose attempt begins now; None if none may."""
        if self.wait_seconds() > 0:
            return None
        _, _, video_id = heapq.heappop(self._waiting)
        self._next_start = self._clock() + self._spacing
        self.attempts[video_id] += 1
        return video_id

    def wait_seconds(self) -> float:
        """Seconds until an attempt may begin; infinity if none will."""
        if not self._waiting or self.stopped:
            return math.inf
        return max(0.0, self._waiting[0][0] - self._clock(), self._next_start - self._clock())

    def settled(self) -> None:
        """An attempt got its video, or an answer that is final: the network works."""
        self._in_a_row = 0

    def failed(self, video_id: str, refused: Refused) -> bool:
        """An attempt failed; whether the video will be attempted again in this run.

        Where a server says that it is asked too much, no attempt at any video begins before that wait is over.
        """
        if refused.permanent or refused.reason in ASKER:
            self.settled()
            return False
        self._in_a_row += 1
        if refused.reason not in RETRIED:
            return False
        wait = self._wait(self.attempts[video_id], refused.retry_after_s)
        if refused.reason == "rate_limited":
            self._next_start = max(self._next_start, self._clock() + wait)
        if self.attempts[video_id] >= self._config.attempts or self.stopped:
            return False
        heapq.heappush(self._waiting, (self._clock() + wait, self.attempts.total(), video_id))
        return True

    @property
    def stopped(self) -> bool:
        """Whether so many attempts failed in a row that no more begin."""
        return self._in_a_row >= self._config.failures_in_a_row

    def _wait(self, attempts: int, asked_for_s: float) -> float:
        doubled = self._config.backoff_seconds * 2.0 ** min(attempts - 1, 60)
        wait = min(doubled, self._config.backoff_limit_seconds) * (0.5 + self._luck() / 2)
        return max(wait, min(asked_for_s, RETRY_AFTER_LIMIT_SECONDS))
