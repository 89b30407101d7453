"""The clip table: one row says which frames and which box of which video make a training clip."""

import csv
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pipelines.corpus.spans import Box, Span
from pipelines.errors import MetadataError
from pipelines.storage.atomic import atomic_path

Partition = Literal["train", "test"]
PARTITIONS: tuple[Partition, ...] = ("train", "test")

# Room for ".mp4" and ".json" in a file name, which most file systems limit to 255 bytes.
MAX_ID_BYTES = 200
# What nearly all ids are made of, told at once: metadata can have millions of rows.
_PLAIN_ID = re.compile(rf"[A-Za-z0-9_#-]{{1,{MAX_ID_BYTES}}}")
MIN_FPS, MAX_FPS = 0.01, 1000.0
MAX_NUMBER = 10**9
MAX_DIGITS = 18
BATCH_ROWS = 10_000
"""Rows that are Python objects at a time."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One row of the clip table. Numbers are checked on construction (ValueError)."""

    clip_id: str
    """Unique name, `[person_id#]video_id#start#end`; the sample's key, so it has no dots and no slashes."""
    dataset: str
    """Which corpus the clip comes from: vox, taichi, ted, or a name of the user's."""
    video_id: str
    """Name of the video, as in the metadata."""
    video_path: str
    """The video's file, or folder of numbered images, relative to the folder of videos (or absolute); empty when it
    was not found."""
    start: int
    """First frame, counted at `fps`."""
    end: int
    """One past the last frame, counted at `fps`."""
    fps: float
    """Frames a second that `start` and `end` count, which may differ from the file's."""
    left: int
    """Left edge of the box in pixels of the reference frame; may lie outside it."""
    top: int
    """Top edge of the box."""
    right: int
    """One past the right-most column of the box."""
    bottom: int
    """One past the lowest row of the box."""
    ref_width: int
    """Width in pixels of the frame that the box was drawn in, which may differ from the file's."""
    ref_height: int
    """Height in pixels of the frame that the box was drawn in."""
    partition: Partition
    """train or test."""
    subject_id: str = ""
    """Who is seen, where the metadata says so; else empty."""

    def __post_init__(self) -> None:
        """Refuse what cannot be a clip, naming column and value."""
        for column in ("clip_id", "dataset", "video_id"):
            check_id(column, getattr(self, column))
        if self.subject_id:
            check_id("subject_id", self.subject_id)
        if "\0" in self.video_path:
            raise ValueError("video_path holds a NUL character")
        if self.partition not in PARTITIONS:
            raise ValueError(f"partition = {self.partition!r} must be train or test")
        if not MIN_FPS <= self.fps <= MAX_FPS:
            raise ValueError(f"fps = {self.fps} must be from {MIN_FPS:g} to {MAX_FPS:g}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for column in NUMBERS:
            if abs(getattr(self, column)) > MAX_NUMBER:
                raise ValueError(f"{column} = {getattr(self, column)} is beyond any real video")
        if self.start < 0:
            raise ValueError(f"start = {self.start} is negative")
        if self.start >= self.end:
            raise ValueError(f"start = {self.start} must be below end = {self.end}")
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError(
                f"box {self.left}-{self.top}-{self.right}-{self.bottom} must have left < right, top < bottom"
            )
        if self.ref_width <= 0 or self.ref_height <= 0:
            raise ValueError(f"reference frame {self.ref_width}x{self.ref_height} must have positive sides")

    @property
    def span(self) -> Span:
        """The clip's frames at the rate the metadata counts in."""
        return Span(self.start, self.end, self.fps)

    @property
    def box(self) -> Box:
        """The clip's box in the reference frame."""
        return Box(self.left, self.top, self.right, self.bottom)


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Clip))
NUMBERS = ("start", "end", "left", "top", "right", "bottom", "ref_width", "ref_height")


def clip_id(video_id: str, start: int, end: int, person_id: str = "") -> str:
    """`[person_id#]video_id#start#end`, numbers padded to six digits so that names sort by time."""
    return "#".join([*([person_id] if person_id else []), video_id, f"{start:06d}", f"{end:06d}"])


def check_id(column: str, value: str) -> None:
    """Refuse a name that could not be a WebDataset key, or that would lead out of a folder (ValueError)."""
    if _PLAIN_ID.fullmatch(value):
        return
    if not value:
        raise ValueError(f"{column} is empty")
    if bad := sorted(set(value) & set("/\\.")):
        raise ValueError(f"{column} = {value!r} holds {' '.join(bad)!r}: ids have no dots and no slashes")
    if value != value.strip() or any(unicodedata.category(sign) in ("Cc", "Cs") for sign in value):
        raise ValueError(f"{column} = {value!r} holds control characters or outer spaces")
    if len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"{column} = {value[:40]!r}... is longer than {MAX_ID_BYTES} bytes")


def clip_schema() -> Any:
    """The table's pyarrow schema."""
    import pyarrow as pa

    types = {**dict.fromkeys(NUMBERS, pa.int64()), "fps": pa.float64()}
    return pa.schema([pa.field(column, types.get(column, pa.string()), nullable=False) for column in COLUMNS])


def read_clip_table(path: Path) -> Iterator[Clip]:
    """The clips of a table in .parquet or .csv, one by one; raises MetadataError naming the row or line at fault."""
    rows: Iterable[tuple[str, Mapping[str, Any]]]
    if path.suffix == ".parquet":
        rows = _parquet_rows(path)
    else:
        rows = ((f"line {line}", row) for line, row in read_csv(path, COLUMNS))
    seen: set[str] = set()
    for place, row in rows:
        try:
            clip = parse_clip(row)
        except ValueError as error:
            raise MetadataError(f"{path}: {place}: {error}. Correct the row.") from None
        if clip.clip_id in seen:
            raise MetadataError(f"{path}: {place}: clip_id {clip.clip_id!r} is there twice. Remove one row.")
        seen.add(clip.clip_id)
        yield clip
    if not seen:
        raise MetadataError(f"{path}: holds no clips. Give a table with at least one row.")


def write_clip_table(path: Path, clips: Iterable[Clip]) -> None:
    """Write a clip table to .parquet or .csv, whole or not at all."""
    with atomic_path(path) as partial:
        if path.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist([asdict(clip) for clip in clips], clip_schema()), partial)
            return
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(asdict(clip) for clip in clips)


def parse_clip(row: Mapping[str, Any]) -> Clip:
    """A clip from a row of text or numbers; ValueError names the column and the value."""
    readers: dict[str, Callable[[str, Any], Any]] = {
        **dict.fromkeys(COLUMNS, _text),
        **dict.fromkeys(NUMBERS, parse_int),
        "fps": parse_float,
    }
    return Clip(**{column: readers[column](column, row[column]) for column in COLUMNS})


def parse_int(column: str, value: Any) -> int:
    """A whole number; `7.0` is accepted, as spreadsheets write it."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS:
        return int(value)
    number = parse_float(column, value)
    if not number.is_integer():
        raise ValueError(f"{column} = {value!r} is not a whole number")
    return int(number)


def parse_float(column: str, value: Any) -> float:
    """A finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{column} = {value!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{column} = {value!r} is not a finite number")
    return number


def read_csv(path: Path, columns: Iterable[str], remedy: str = "") -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their line numbers; raises MetadataError if it is none or lacks columns.

    `remedy` is what may be done about missing columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from _csv_rows(path, csv.reader(file, strict=True), set(columns), remedy)
    except FileNotFoundError:
        raise MetadataError(f"{path}: no such file. Give the path of a CSV file.") from None
    except IsADirectoryError:
        raise MetadataError(f"{path}: a folder. Give the path of a CSV file.") from None
    except UnicodeDecodeError as error:
        raise MetadataError(
            f"{path}: byte {error.start} is not UTF-8 text. Give a CSV file in UTF-8."
        ) from None


def _csv_rows(
    path: Path, reader: Any, columns: set[str], remedy: str
) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        header = [name.strip() for name in next(reader, [])]
        if not header:
            raise MetadataError(f"{path}: the file is empty. It needs a header and at least one row.")
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise MetadataError(f"{path}: line 1: two columns are named {twice}. Remove one.")
        if missing := sorted(columns - set(header)):
            found = ", ".join(header)[:200]
            lack = f"{path}: line 1: missing columns {', '.join(missing)} (found: {found}). {remedy}"
            raise MetadataError(lack.rstrip())
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise MetadataError(
                    f"{path}: line {reader.line_num}: {len(cells)} cells where the header has {len(header)}."
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise MetadataError(f"{path}: line {reader.line_num}: not CSV ({error}). Give a CSV file.") from None


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if missing := sorted(set(COLUMNS) - set(file.schema_arrow.names)):
                raise MetadataError(f"{path}: missing columns {', '.join(missing)}.")
            batches = file.iter_batches(BATCH_ROWS, columns=list(COLUMNS))
            rows = (row for batch in batches for row in batch.to_pylist())
            yield from ((f"row {number}", row) for number, row in enumerate(rows))
    except FileNotFoundError:
        raise MetadataError(f"{path}: no such file. Give the path of a clip table.") from None
    except (pa.ArrowException, OSError) as error:
        raise MetadataError(f"{path}: not a Parquet file ({error}). Give a clip table.") from None


def _text(column: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{column} = {value!r} is not text")
    return value
