"""How much of a metadata file is there: videos and clips by partition, as a table."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pyarrow as pa

from pipelines.corpus.clip_columns import ClipColumns
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
    """Count `clips` and their videos by what `state` says of each video id; it is asked once a video."""
    columns = ClipColumns.of(clips)
    table = pa.table({name: columns.column(name) for name in ("video_id", "partition")})
    states = {video_id: state(video_id) for video_id in table["video_id"].unique().to_pylist()}
    videos: dict[str, Counter[State]] = {name: Counter() for name in (*PARTITIONS, "all")}
    counted: dict[str, Counter[State]] = {name: Counter() for name in (*PARTITIONS, "all")}
    videos["all"].update(states.values())
    for row in table.group_by(["video_id", "partition"]).aggregate([([], "count_all")]).to_pylist():
        found = states[row["video_id"]]
        videos[row["partition"]][found] += 1
        for name in (row["partition"], "all"):
            counted[name][found] += row["count_all"]
    wanted = [name for name in videos if name == "all" or videos[name]]
    return Coverage(
        videos={name: _in_order(videos[name]) for name in wanted},
        clips={name: _in_order(counted[name]) for name in wanted},
    )


def _in_order(counts: Counter[State]) -> dict[State, int]:
    return {state: counts[state] for state in STATES}
