"""What becomes of clips as they are prepared: an actor that workers tell. Light to import: every run waits for it."""

from collections import Counter


class Tally:
    """What became of the clips so far, by clip id: a shard made twice counts once. And how often it was begun.

    When its process is killed it begins from nothing: the line counts less for a while, no work depends on it.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._beginnings: Counter[str] = Counter()

    def begin(self, shard: str) -> int:
        self._beginnings[shard] += 1
        return self._beginnings[shard]

    def add(self, clip_id: str, reason: str) -> None:
        self._reasons[clip_id] = reason

    def counts(self) -> Counter[str]:
        return Counter(self._reasons.values())
