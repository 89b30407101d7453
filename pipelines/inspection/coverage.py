"""How much of a metadata file became a dataset: clips and videos, by partition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import PARTITIONS
from pipelines.corpus.metadata import Metadata
from pipelines.dataset.tables import DatasetTables


@dataclass(frozen=True, kw_only=True)
class PartitionCoverage:
    """Clips and videos that the metadata lists in one partition, or in all."""

    partition: str
    """train, test or all."""
    listed: int
    """Clips listed."""
    written: int
    failed: int
    absent: int
    """Clips listed that the dataset never heard of: it was prepared from another file."""
    videos_listed: int
    videos_found: int
    """Of them, those that were there when the dataset was prepared."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What became of the clips of a metadata file."""

    rows: list[PartitionCoverage]
    """One entry a partition, and one for all."""
    unlisted: int
    """Clips of the dataset that the file does not list."""
    same_file: bool | None
    """Whether it is the file that the dataset was prepared from; None where no file was given."""


def measure_coverage(tables: DatasetTables, metadata: Metadata | None) -> Coverage:
    """Compare a dataset with `metadata`, or with the clips that it was itself prepared from."""
    columns = ["clip_id", "video_id", "video_path", "partition"]
    dataset = pa.concat_tables([tables.written.select(columns), tables.failed.select(columns)])
    listed = dataset.select(["clip_id", "video_id", "partition"]) if metadata is None else _listed(metadata)
    found = dataset.filter(pc.not_equal(dataset["video_path"], ""))["video_id"]
    same_file = None
    if metadata is not None:
        source = tables.description.get("source")
        same_file = isinstance(source, dict) and source.get("metadata_sha256") == metadata.sha256
    return Coverage(
        rows=[_partition(name, listed, tables, found) for name in (*_present(listed, PARTITIONS), "all")],
        unlisted=_without(dataset["clip_id"], listed["clip_id"]),
        same_file=same_file,
    )


def _listed(metadata: Metadata) -> Any:
    clips = ClipColumns.of(metadata.clips)
    return pa.table({name: clips.column(name) for name in ("clip_id", "video_id", "partition")})


def _present(listed: Any, partitions: Sequence[str]) -> list[str]:
    return [name for name in partitions if pc.any(pc.equal(listed["partition"], name), min_count=0).as_py()]


def _partition(name: str, listed: Any, tables: DatasetTables, found: Any) -> PartitionCoverage:
    rows = listed if name == "all" else listed.filter(pc.equal(listed["partition"], name))
    clips, videos = rows["clip_id"], pc.unique(rows["video_id"])
    written, failed = (_within(clips, table["clip_id"]) for table in (tables.written, tables.failed))
    return PartitionCoverage(
        partition=name,
        listed=len(clips),
        written=written,
        failed=failed,
        absent=len(clips) - written - failed,
        videos_listed=len(videos),
        videos_found=_within(videos, found),
    )


def _within(values: Any, others: Any) -> int:
    """How many of `values` are among `others`."""
    return int(pc.sum(pc.is_in(values, value_set=pc.unique(others)), min_count=0).as_py())


def _without(values: Any, others: Any) -> int:
    return len(values) - _within(values, others)
