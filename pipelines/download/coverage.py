"""How much of a metadata file is there: videos and clips by partition, as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.corpus.clip_table import PARTITIONS, Clip

State = Literal["there", "dead", "left"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Coverage:
    """Counts by partition, and over all of them under `all`: wanted = there + dead + left."""

    videos: dict[str, dict[State, int]]
    """A video with clips in both partitions counts in both, and once in `all`."""
    clips: dict[str, dict[State, int]]

    def table(self) -> str:
        """The counts in aligned columns."""
        columns = ("wanted", *STATES)
        kinds = (("videos", self.videos), ("clips", self.clips))
        lines = [
            f"{'':10}" + "".join(f"{kind:>{9 * len(columns)}}" for kind, _ in kinds),
            f"{'partition':10}" + "".join(f"{column:>9}" for _ in kinds for column in columns),
        ]
        for partition in self.videos:
            counts = [self._row(part[partition]) for _, part in kinds]
            lines.append(f"{partition:10}" + "".join(f"{count:9,}" for row in counts for count in row))
        return "\n".join(lines)

    @staticmethod
    def _row(counts: dict[State, int]) -> list[int]:
        return [sum(counts.values()), *(counts[state] for state in STATES)]


def coverage(clips: Sequence[Clip], state: Callable[[str], State]) -> Coverage:
    """Count `clips` and their videos by what `state` says of each video id."""
    groups: dict[str, list[Clip]] = {name: [c for c in clips if c.partition == name] for name in PARTITIONS}
    groups = {name: group for name, group in groups.items() if group} | {"all": list(clips)}
    return Coverage(
        videos={
            name: _count([state(video_id) for video_id in {clip.video_id for clip in group}])
            for name, group in groups.items()
        },
        clips={name: _count([state(clip.video_id) for clip in group]) for name, group in groups.items()},
    )


def _count(states: Sequence[State]) -> dict[State, int]:
    return {state: states.count(state) for state in STATES}
