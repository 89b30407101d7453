"""What a person wants to know of a dataset before training on it, counted from its tables and clips."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.corpus.clip_table import PARTITIONS
from pipelines.corpus.metadata import Metadata
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.tables import DatasetTables, in_partition, read_tables
from pipelines.inspection.clip_sample import SampledClip, sample_clips, share_out
from pipelines.inspection.clip_sources import ClipSources, no_sources, read_sources
from pipelines.inspection.coverage import Coverage, measure_coverage
from pipelines.storage.location import Location

SAMPLED_CLIPS = 24
# Of the clips shown; the test clips are the ones a model is judged by, so they get more than their share.
SAMPLE_WEIGHTS = {"train": 2.0, "test": 1.0}
EXAMPLES_A_REASON = 3


@dataclass(frozen=True, kw_only=True)
class PartitionSurvey:
    """The clips of one partition that were written."""

    name: str
    clips: int
    videos: int
    shards: int
    shard_bytes: int
    """Size of those shards."""
    n_frames: NDArray[np.int64]
    """Frames of each clip."""
    seconds: NDArray[np.float64]
    """Length of each clip, from its span in the metadata."""
    sources: ClipSources
    """What they were cut from; of very large partitions, of a part of the clips."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Names of subjects or videos, and how many clips of each were written; most clips first."""

    names: list[str]
    clips: dict[str, NDArray[np.int64]]
    """By partition, one entry a name."""

    @property
    def totals(self) -> NDArray[np.int64]:
        """Clips of each, all partitions together."""
        return np.asarray(sum(self.clips.values()))

    @property
    def in_both(self) -> list[int]:
        """Which of them have clips in more than one partition."""
        partitions = np.sum([count > 0 for count in self.clips.values()], axis=0)
        return [int(index) for index in np.flatnonzero(partitions > 1)]


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """The clips that failed for one reason."""

    stage: str
    reason: str
    clips: int
    examples: list[tuple[str, str]]
    """Clip id and message of some, of different videos as far as there are."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All of it."""

    tables: DatasetTables
    partitions: dict[str, PartitionSurvey]
    subjects: Groups
    """Empty where the metadata names no subjects."""
    videos: Groups
    failures: list[FailureGroup]
    coverage: Coverage
    sample: list[SampledClip]

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return int(self.tables.description["size"])

    @property
    def written(self) -> int:
        """Clips in the shards."""
        return int(self.tables.written.num_rows)

    @property
    def failed(self) -> int:
        """Clips that could not be written."""
        return int(self.tables.failed.num_rows)


def survey(root: str | Location, metadata: Metadata | None = None) -> Survey:
    """Survey the dataset at `root`, and how much of `metadata` it covers where that is given.

    Raises DatasetError if the dataset is absent, unfinished or damaged.
    """
    tables = read_tables(root)
    counts = {name: in_partition(tables.written, name).num_rows for name in PARTITIONS}
    opened: dict[str, PairDataset] = {
        name: PairDataset(tables.source.root, name) for name, count in counts.items() if count
    }
    return Survey(
        tables=tables,
        partitions={name: _partition(tables, name, opened.get(name)) for name in PARTITIONS},
        subjects=group_clips(tables.written, "subject_id"),
        videos=group_clips(tables.written, "video_id"),
        failures=group_failures(tables.failed),
        coverage=measure_coverage(tables, metadata),
        sample=_sample(tables, opened),
    )


def group_clips(written: Any, column: str) -> Groups:
    """Count the clips of each name in a column, by partition; empty names are left out."""
    named = written.filter(pc.not_equal(written[column], ""))
    counted = named.group_by([column, "partition"]).aggregate([([], "count_all")])
    keys = counted[column].combine_chunks().dictionary_encode()
    names, index = keys.dictionary.to_pylist(), keys.indices.to_numpy(zero_copy_only=False)
    clips = {partition: np.zeros(len(names), np.int64) for partition in PARTITIONS}
    for partition, of_names in clips.items():
        rows = pc.equal(counted["partition"], partition).to_numpy()
        of_names[index[rows]] = counted["count_all"].to_numpy()[rows]
    order = sorted(range(len(names)), key=lambda i: (-sum(int(of[i]) for of in clips.values()), names[i]))
    return Groups(
        names=[names[i] for i in order], clips={name: of_names[order] for name, of_names in clips.items()}
    )


def group_failures(failed: Any) -> list[FailureGroup]:
    """The reasons with their counts, most frequent first, each with a few messages."""
    counted = failed.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist()
    counted.sort(key=lambda row: (-row["count_all"], row["reason"], row["stage"]))
    groups = []
    for row in counted:
        mine = failed.filter(
            pc.and_(pc.equal(failed["reason"], row["reason"]), pc.equal(failed["stage"], row["stage"]))
        )
        videos = mine["video_id"].combine_chunks().dictionary_encode()
        _, first = np.unique(videos.indices.to_numpy(zero_copy_only=False), return_index=True)
        chosen = mine.take(np.sort(first)[:EXAMPLES_A_REASON])
        groups.append(
            FailureGroup(
                stage=row["stage"],
                reason=row["reason"],
                clips=row["count_all"],
                examples=list(zip(chosen["clip_id"].to_pylist(), chosen["message"].to_pylist(), strict=True)),
            )
        )
    return groups


def _partition(tables: DatasetTables, name: str, dataset: PairDataset | None) -> PartitionSurvey:
    rows = in_partition(tables.written, name)
    shards = pc.unique(rows["shard"]).to_pylist()
    frames = pc.subtract(rows["end"], rows["start"])
    return PartitionSurvey(
        name=name,
        clips=rows.num_rows,
        videos=len(pc.unique(rows["video_id"])),
        shards=len(shards),
        # Opening the dataset has checked the names.
        shard_bytes=sum(tables.source.shard_size(shard) for shard in shards),
        n_frames=rows["n_frames"].to_numpy(),
        seconds=pc.divide(pc.cast(frames, "float64"), rows["fps"]).to_numpy(),
        sources=read_sources(dataset) if dataset else no_sources(),
    )


def _sample(tables: DatasetTables, opened: dict[str, PairDataset]) -> list[SampledClip]:
    shares = share_out(
        [len(dataset) for dataset in opened.values()],
        SAMPLED_CLIPS,
        [SAMPLE_WEIGHTS[name] for name in opened],
    )
    sample = []
    for (name, dataset), share in zip(opened.items(), shares, strict=True):
        rows = in_partition(tables.written, name)
        # Where the metadata names no subjects, a video stands for one.
        who = pc.if_else(pc.equal(rows["subject_id"], ""), rows["video_id"], rows["subject_id"])
        groups = who.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        sample += sample_clips(dataset, groups, share)
    return sample
