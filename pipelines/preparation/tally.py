"""What becomes of clips as they are prepared: an actor that workers tell. Light to import: every run waits for it."""

from collections import Counter
from collections.abc import Mapping


class Tally:
    """What became of the clips so far, by clip id: a shard made twice counts once. And how often it was begun.

    When its process is killed it begins from nothing: the line counts less for a while, no work depends on it.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._beginnings: Counter[str] = Counter()

    def begin(self, shard: str) -> int:
        self._beginnings[shard] += 1
        return self._beginnings[shard]

    def add(self, clips: Mapping[str, str]) -> None:
        """Why each of these clips failed; an empty reason if it did not."""
        for clip_id, reason in clips.items():
            if (before := self._reasons.get(clip_id)) is not None:
                self._counts[before] -= 1
            self._reasons[clip_id] = reason
            self._counts[reason] += 1

    def counts(self) -> Counter[str]:
        """Clips by reason. Kept, not counted: it is asked for twice a second, of millions."""
        return +self._counts
