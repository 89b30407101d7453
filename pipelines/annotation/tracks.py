"""Detections of one frame after another, joined to tracks by the published rule. Pure, and in constant memory.

A track keeps its first box, the union of all its boxes and its last one. Boxes between two looks are interpolated;
each edge then lies between the edges looked at, so the union needs none of them.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.regions import Region, between, iou, union


@dataclass(frozen=True, order=True)
class Track:
    """One person, seen in frames [start, end)."""

    start: int
    end: int
    region: Region
    """All the track's boxes together."""


@dataclass
class _Open:
    """A track that may go on."""

    first: Region
    start: int
    seen: int
    """Number of the frame in which the person was last found."""
    last: Region
    union: Region
    misses: int = 0

    def closed(self, limit: int) -> Track:
        """The finished track, with no frame from `limit` on."""
        return Track(self.start, min(self.seen + 1, limit), self.union)


@dataclass
class Tracker:
    """Joins detections of ascending frame numbers to tracks; hands out each track as it ends."""

    config: AnnotateConfig
    _open: list[_Open] = field(default_factory=list)
    _recent: deque[int] = field(init=False)
    """Frames since the last time any open track can have been seen."""

    def __post_init__(self) -> None:
        self._recent = deque(maxlen=self.config.detect_every * (self.config.max_misses + 1))

    def step(self, number: int, regions: Sequence[Region] | None) -> list[Track]:
        """Take in the frame `number` and the boxes found in it, or None where nobody looked."""
        ended = self._end([track for track in self._open if number - track.start >= self.config.max_frames])
        if regions is not None:
            ended += self._look(number, regions)
        self._recent.append(number)
        return ended

    def cut(self, number: int) -> list[Track]:
        """A new shot begins with the frame `number`: no track goes on, and none keeps this frame."""
        self._recent.clear()
        return self._end(list(self._open), limit=number)

    def finish(self) -> list[Track]:
        """The video is over."""
        return self._end(list(self._open))

    def _look(self, number: int, regions: Sequence[Region]) -> list[Track]:
        lost = []
        pairs = self._pairs(regions)
        taken = set(pairs.values())
        for index, track in enumerate(self._open):
            found = pairs.get(index)
            if found is None:
                track.misses += 1
                if track.misses > self.config.max_misses:
                    lost.append(track)
            elif self._strays(track, number, regions[found]):
                lost.append(track)
                taken.discard(found)
            else:
                track.seen, track.last, track.misses = number, regions[found], 0
                track.union = union(track.union, regions[found])
        ended = self._end(lost)
        self._open += [
            _Open(first=region, start=number, seen=number, last=region, union=region)
            for index, region in enumerate(regions)
            if index not in taken
        ]
        return ended

    def _pairs(self, regions: Sequence[Region]) -> dict[int, int]:
        """Which open track goes on with which box: the pair that overlaps most first, each of them once."""
        overlaps = sorted(
            (-overlap, track, region)
            for track, opened in enumerate(self._open)
            for region, box in enumerate(regions)
            if (overlap := iou(opened.first, box)) >= self.config.min_iou and overlap > 0
        )
        pairs: dict[int, int] = {}
        for _, track, region in overlaps:
            if track not in pairs and region not in pairs.values():
                pairs[track] = region
        return pairs

    def _strays(self, track: _Open, number: int, region: Region) -> bool:
        """Whether the way from the last box to this one leaves the first box in a frame between."""
        return any(
            iou(track.first, between(track.last, region, (frame - track.seen) / (number - track.seen)))
            < self.config.min_iou
            for frame in self._recent
            if frame > track.seen
        )

    def _end(self, tracks: list[_Open], limit: int | None = None) -> list[Track]:
        self._open = [track for track in self._open if all(track is not ended for ended in tracks)]
        closed = [track.closed(track.seen + 1 if limit is None else limit) for track in tracks]
        return [track for track in closed if track.start < track.end]
