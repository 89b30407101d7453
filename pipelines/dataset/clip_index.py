"""Where a published dataset keeps its clips and each clip its frames, read with distrust.

Offsets come from files that anyone may have written, so all of them are checked against the sizes of the
shards before a byte is read through them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.dataset.source import RESUME, UNREADABLE, DatasetSource, open_source
from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.preparation.plan import SCHEMA_VERSION
from pipelines.storage.location import Location

_TEXT = ("clip_id", "video_id", "subject_id", "shard")
_NUMBERS = ("mp4_offset", "mp4_size", "json_offset", "json_size", "n_frames")
_RATE = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_MAX_JSON_BYTES = 1 << 26
_MAX_NAME_BYTES = 200
"""Of a shard's name: file systems take 255, of which the cache needs some."""
_AT_ONCE = 1 << 10
"""Strings made into objects of Python at a time."""
_MAX_SIDE = 1 << 13


class TextColumn(Sequence[str]):
    """Strings, each different one held once: a clip takes four bytes where its video, person or shard is concerned.

    Equal to no list: compare `list(column)`.
    """

    def __init__(self, values: pa.ChunkedArray) -> None:
        # Of a hundred million clips the names have more than the 2 GiB that plain strings allow.
        column = values.cast(pa.large_string()).dictionary_encode().combine_chunks()
        self.distinct: pa.Array = column.dictionary
        """The strings, in the order in which they appear."""
        self.codes: NDArray[np.int32] = column.indices.to_numpy()
        """Which of them each clip has."""

    @overload
    def __getitem__(self, clip: int) -> str: ...
    @overload
    def __getitem__(self, clip: slice) -> list[str]: ...
    def __getitem__(self, clip: int | slice) -> str | list[str]:
        if isinstance(clip, slice):
            return list(self.distinct.take(pa.array(self.codes[clip])).to_pylist())
        return str(self.distinct[int(self.codes[clip])])

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        for begin in range(0, len(self), _AT_ONCE):
            yield from self[begin : begin + _AT_ONCE]


@dataclass(frozen=True, kw_only=True)
class ClipIndex:
    """The clips of one partition, in the manifest's order; one entry of each column or array a clip."""

    size: int
    """Side of the square frames in pixels."""
    dataset: str
    """The dataset's name; of several in one folder, their names with a plus between them."""
    digest: str
    """The whole dataset's digest, over plan and content."""
    clip_id: TextColumn
    video_id: TextColumn
    subject_id: TextColumn
    shard: TextColumn
    """File name of the shard."""
    mp4_offset: NDArray[np.int64]
    """Byte in the shard at which the clip's mp4 begins."""
    mp4_size: NDArray[np.int64]
    json_offset: NDArray[np.int64]
    json_size: NDArray[np.int64]
    n_frames: NDArray[np.int64]


@dataclass(frozen=True)
class FrameRanges:
    """Where the JPEG of each frame lies, in bytes from the start of the clip's mp4."""

    offsets: NDArray[np.integer]
    sizes: NDArray[np.integer]
    fps: Fraction
    """Frames a second of the clip."""


def read_clip_index(root: str | Location | DatasetSource, partition: str) -> ClipIndex:
    """The clips of a partition of a dataset.

    Raises DatasetError if the dataset is absent, unfinished or damaged, or has no clip in that partition.
    """
    source = open_source(root)
    description = read_description(source)
    columns = _read_manifest(source, description, partition)
    if not len(columns["clip_id"]):
        raise DatasetError(
            f"{source.root}: no {partition} clips: none of its clips has partition = {partition}. Add such rows to "
            "the metadata and prepare the dataset anew, or choose the other partition."
        )
    name = description.get("dataset")
    index = ClipIndex(
        size=description["size"],
        dataset=name if isinstance(name, str) else "",
        digest=description["digest"],
        **columns,
    )
    _check_against_shards(source, index)
    pa.default_memory_pool().release_unused()  # else each process keeps, for nothing, what reading took
    return index


def read_digests(root: str | Location | DatasetSource, partition: str) -> list[str]:
    """The sha256 of each clip's mp4, in the order of `read_clip_index`, whose errors are raised here, too."""
    source = open_source(root)
    path = source.root / "manifest.parquet"
    try:
        table = pq.read_table(source.file(path.name), columns=["partition", "sha256"])
        digests = table.filter(pc.equal(table["partition"], partition))["sha256"].to_pylist()
    except (InputError, StorageError):
        raise
    except UNREADABLE as error:
        raise DatasetError(f"{path}: missing or damaged ({error}). {RESUME}") from error
    if None in digests:
        raise DatasetError(f"{path}: empty cells in column sha256. {RESUME}")
    return list(digests)


def count_clips(root: str | Location | DatasetSource) -> dict[str, int]:
    """How many clips of each partition were written, by dataset.json."""
    source = open_source(root)
    by_partition = read_description(source)["counts"].get("by_partition")
    if not isinstance(by_partition, dict):
        raise DatasetError(f"{source.root / 'dataset.json'}: damaged (counts.by_partition). {RESUME}")
    return {str(name): int(count) for name, count in by_partition.items()}


def count_failures(root: str | Location | DatasetSource, partition: str) -> int:
    """How many clips of a partition failures.parquet lists."""
    source = open_source(root)
    path = source.root / "failures.parquet"
    try:
        partitions = pq.read_table(source.file(path.name), columns=["partition"])["partition"]
        partitions.validate(full=True)
        return int(pc.sum(pc.equal(partitions, partition)).as_py() or 0)
    except (InputError, StorageError):
        raise
    except UNREADABLE as error:
        raise DatasetError(f"{path}: missing or damaged ({error}). {RESUME}") from error


def parse_frame_ranges(data: bytes, *, clip_id: str, n_frames: int, mp4_size: int) -> FrameRanges:
    """Read a clip's json member; ValueError says what is wrong with it."""
    try:
        record = json.loads(data)
        fps = parse_rate(record["video_fps"])
        offsets, sizes = (np.fromiter(record[name], np.int64) for name in ("frame_offsets", "frame_sizes"))
        found_id = record["clip_id"]
    except (ValueError, KeyError, TypeError, OverflowError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"its json member is damaged ({type(error).__name__}: {error})") from error
    if found_id != clip_id:
        raise ValueError(f"its json member belongs to clip {found_id!r}")
    if not len(offsets) == len(sizes) == n_frames:
        raise ValueError(f"{len(offsets)} offsets and {len(sizes)} sizes for {n_frames} frames")
    if (bad := _first_outside(offsets, sizes, mp4_size)) is not None:
        raise ValueError(
            f"frame {bad} at byte {offsets[bad]}, {sizes[bad]} long, lies outside its mp4 of {mp4_size} bytes"
        )
    if not 0 < fps <= 1000:
        raise ValueError(f"video_fps = {record['video_fps']!r} is no frame rate")
    # Kept for many clips at a time: four bytes a number do for any clip under 4 GB.
    small = np.min_scalar_type(mp4_size)
    return FrameRanges(offsets.astype(small), sizes.astype(small), fps)


def parse_rate(text: object) -> Fraction:
    """A frame rate as clips' json members state it, "30000/1001" (ValueError, ZeroDivisionError)."""
    # Fraction alone would also take "1e999999999", and be busy with it for ever.
    match = _RATE.fullmatch(str(text))
    if match is None:
        raise ValueError(f"video_fps = {text!r} is no frame rate")
    return Fraction(int(match[1]), int(match[2]))


def _first_outside(
    offsets: NDArray[np.int64], sizes: NDArray[np.int64], end: int | NDArray[np.int64]
) -> int | None:
    """Index of the first range that is empty or not within 0 .. end; offset + size might overflow."""
    outside = (offsets < 0) | (sizes < 1) | (offsets > end - sizes)
    return int(outside.argmax()) if outside.any() else None


def read_description(source: DatasetSource) -> dict[str, Any]:
    """What dataset.json says; schema version, size, digest and the count of clips written are checked.

    Raises DatasetError if the dataset is absent, unfinished or damaged.
    """
    path = source.root / "dataset.json"
    content = source.description()
    try:
        description = json.loads(content)
        version, size = description["schema_version"], description["size"]
        written, digest = description["counts"]["written"], description["digest"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{path}: damaged ({type(error).__name__}: {error}). {RESUME}") from error
    if version != SCHEMA_VERSION:
        raise DatasetError(
            f"{path}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}. Prepare it anew."
        )
    if type(size) is not int or not 1 <= size <= _MAX_SIDE:
        raise DatasetError(f"{path}: damaged (size = {size!r}). {RESUME}")
    if type(written) is not int or not isinstance(digest, str):
        raise DatasetError(f"{path}: damaged (written = {written!r}, digest = {digest!r}). {RESUME}")
    return dict(description)


def _read_manifest(source: DatasetSource, description: Mapping[str, Any], partition: str) -> dict[str, Any]:
    """The columns of a partition's clips, by name. Of the whole file one column at a time is held."""
    path = source.root / "manifest.parquet"
    try:
        with pq.ParquetFile(source.file(path.name)) as file:
            _require_rows(path, file.metadata.num_rows, description)

            def read(name: str, kind: pa.DataType) -> pa.ChunkedArray:
                column = file.read([name])[name]
                column.validate(full=True)
                column = column.cast(kind)
                if column.null_count:
                    raise DatasetError(f"{path}: empty cells in column {name}. {RESUME}")
                return column

            wanted = pc.equal(read("partition", pa.string()), partition)
            text = {name: TextColumn(read(name, pa.string()).filter(wanted)) for name in _TEXT}
            numbers = {name: read(name, pa.int64()).filter(wanted).to_numpy() for name in _NUMBERS}
    except FileNotFoundError:
        raise DatasetError(f"{path}: missing. {RESUME}") from None
    except (InputError, StorageError):  # the cache's settings, a server: nothing is wrong with the file
        raise
    except UNREADABLE as error:
        raise DatasetError(f"{path}: damaged ({error}). {RESUME}") from error
    _require_rows(path, len(wanted), description)
    return {**text, **numbers}


def _require_rows(path: Location, rows: int, description: Mapping[str, Any]) -> None:
    if rows != description["counts"]["written"]:
        raise DatasetError(
            f"{path}: {rows} clips where dataset.json counts {description['counts']['written']}. {RESUME}"
        )


def _check_against_shards(source: DatasetSource, index: ClipIndex) -> None:
    """Refuse shards that are missing or too short and members that lie outside them."""
    ends = np.array([_shard_size(source, name) for name in index.shard.distinct.to_pylist()], dtype=np.int64)
    end = ends[index.shard.codes]
    for member, offsets, sizes in (
        ("mp4", index.mp4_offset, index.mp4_size),
        ("json", index.json_offset, index.json_size),
    ):
        if (bad := _first_outside(offsets, sizes, end)) is not None:
            raise DatasetError(
                f"{source.root / index.shard[bad]}: clip {index.clip_id[bad]}: its {member} at byte {offsets[bad]}, "
                f"{sizes[bad]} long, lies outside the shard of {end[bad]} bytes. The shard was cut or the "
                f"manifest changed: delete the shard. {RESUME}"
            )
    for array, least, most, what in (
        (index.n_frames, 1, np.iinfo(np.int64).max, "frames"),
        (index.json_size, 1, _MAX_JSON_BYTES, "bytes of json"),
    ):
        bad = int(((array < least) | (array > most)).argmax())
        if not least <= array[bad] <= most:
            raise DatasetError(
                f"{source.root / 'manifest.parquet'}: clip {index.clip_id[bad]}: {array[bad]} {what}. {RESUME}"
            )


def _shard_size(source: DatasetSource, name: str) -> int:
    if Path(name).name != name or not name.endswith(".tar") or len(name.encode()) > _MAX_NAME_BYTES:
        raise DatasetError(f"{source.root / 'manifest.parquet'}: {name!r} is no name of a shard. {RESUME}")
    return source.shard_size(name)
