"""Readers of the three published metadata formats: VoxCeleb and TaiChi-HD (from FOMM), TED-talks (MRAA).

Columns `video_id,start,end,bbox,fps,width,height,partition`, and `person_id` for VoxCeleb; `bbox` is
`left-top-right-bottom` in whole pixels of a `width` x `height` frame, `start` and `end` are frames at `fps`. A
user's own corpus ("own") has the same columns. `person_id` is used wherever it is there.
"""

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import pyarrow.compute as pc

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import (
    Clip,
    Partition,
    check_id,
    clip_id,
    parse_float,
    parse_int,
    read_clip_table,
    read_csv,
)
from pipelines.errors import InputError, MetadataError

Dataset = Literal["vox", "taichi", "ted", "own"]
DATASETS: tuple[str, ...] = get_args(Dataset)

COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "partition")
PERSON = "person_id"

# Where a video was stored in several containers the first of these is taken; other containers come after,
# in alphabetical order.
PREFERRED_CONTAINERS = (".mp4", ".mkv", ".webm", ".mov", ".m4v", ".avi", ".ts", ".mpg")
# What download tools leave beside a video under the same name.
NOT_VIDEOS = frozenset(
    f".{ending}"
    for ending in (
        *("json", "jsonl", "txt", "csv", "xml", "vtt", "srt", "ass", "lrc", "description", "md5", "sha256"),
        *("part", "ytdl", "temp", "tmp", "aria2"),
        *("jpg", "jpeg", "png", "webp", "gif", "npy", "npz", "pt", "pkl", "parquet"),
        *("m4a", "mp3", "aac", "opus", "ogg", "wav", "flac"),
    )
)

_EXPECTED = f"Its columns are {','.join(COLUMNS)}"
_REMEDIES: Mapping[Dataset, str] = {
    "vox": f"{_EXPECTED},{PERSON}; where nobody knows the people give --dataset taichi, ted or own.",
    "taichi": f"{_EXPECTED}.",
    "ted": f"{_EXPECTED}.",
    "own": f"{_EXPECTED}, and {PERSON} if the people are known.",
}

_BOX = re.compile(r"(-?\d+)-(-?\d+)-(-?\d+)-(-?\d+)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A metadata file, or a folder of clips, as read: its clips, and what was counted on the way."""

    clips: Sequence[Clip]
    """The distinct clips, in the order of their first rows."""
    rows: int
    """Rows in the file, the header left out; clips in the folder."""
    duplicates: int
    """Rows left out because an earlier row names the same clip."""
    missing_videos: int
    """Videos named by the file but not found in the folder; their clips become counted failures."""
    sha256: str
    """SHA-256 of the metadata file, or of the list of clips where a folder stands for one."""


def read_metadata(path: Path, dataset: Dataset, videos: Path | None) -> Metadata:
    """Read a published metadata CSV and find its videos as `videos`/<video_id>.<any container>.

    "own" may also be a clip table in Parquet. Without a folder of videos none is looked for, and all count as missing.

    A row that repeats a clip is counted and left out; one that repeats it with another partition moves it to
    test, so that no test clip is trained on (three clips of VoxCeleb). Raises MetadataError naming the line
    for anything else unexpected, and InputError if `videos` is no folder.
    """
    if dataset not in DATASETS:
        raise InputError(f"dataset = {dataset!r} is unknown. Use one of {', '.join(DATASETS)}.")
    found = index_videos(videos) if videos else {}
    if path.suffix == ".parquet":
        return _from_clip_table(path, dataset, found)
    lines = array("q")
    rows = ClipColumns.of(_parsed(path, dataset, found, lines))
    if not rows:
        raise MetadataError(f"{path}: has a header but no rows. Give a file that lists clips.")
    clips = _distinct(path, rows, lines)
    return Metadata(
        clips=clips,
        rows=len(rows),
        duplicates=len(rows) - len(clips),
        missing_videos=_missing_videos(clips),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def index_videos(folder: Path) -> dict[str, str]:
    """File names of the videos in `folder` by video id (the name before the last dot)."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder of videos. Give the folder that holds <video_id>.mp4 files."
        )
    best: dict[str, tuple[int, str]] = {}
    for entry in sorted(folder.iterdir()):
        suffix = entry.suffix.lower()
        if not suffix or suffix in NOT_VIDEOS or entry.is_dir():
            continue
        rank = (
            PREFERRED_CONTAINERS.index(suffix)
            if suffix in PREFERRED_CONTAINERS
            else len(PREFERRED_CONTAINERS)
        )
        best[entry.stem] = min(best.get(entry.stem, (rank, entry.name)), (rank, entry.name))
    return {video_id: name for video_id, (_, name) in best.items()}


def parse_box(text: str) -> tuple[int, int, int, int]:
    """`left-top-right-bottom` in whole pixels, none of them negative (ValueError)."""
    match = _BOX.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"bbox = {text!r} is not left-top-right-bottom in whole pixels")
    left, top, right, bottom = (int(number) for number in match.groups())
    if min(left, top, right, bottom) < 0:
        raise ValueError(f"bbox = {text!r} holds a negative number")
    return left, top, right, bottom


def _from_clip_table(path: Path, dataset: Dataset, found: Mapping[str, str]) -> Metadata:
    if dataset != "own":
        raise MetadataError(
            f"{path}: a clip table goes with --dataset own; {dataset} metadata are CSV files."
        )
    clips = ClipColumns.of(
        replace(clip, video_path=found.get(clip.video_id, "")) for clip in read_clip_table(path)
    )
    return Metadata(
        clips=clips,
        rows=len(clips),
        duplicates=0,
        missing_videos=_missing_videos(clips),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _parsed(path: Path, dataset: Dataset, found: Mapping[str, str], lines: "array[int]") -> Iterator[Clip]:
    """The clip of each row; the number of its line is added to `lines`."""
    columns = (*COLUMNS, PERSON) if dataset == "vox" else COLUMNS
    for line, row in read_csv(path, columns, _REMEDIES[dataset]):
        try:
            clip = _clip(row, dataset, found)
        except ValueError as error:
            _refuse_spanless(path, columns)
            raise MetadataError(f"{path}: line {line}: {error}. Correct or remove the row.") from None
        lines.append(line)
        yield clip


def _distinct(path: Path, rows: ClipColumns, lines: Sequence[int]) -> ClipColumns:
    """The rows without those that repeat an earlier one."""
    hashes = np.fromiter((hash(row["clip_id"]) for row in rows.rows(["clip_id"])), np.int64, len(rows))
    if len(np.unique(hashes)) == len(rows):
        return rows
    # Codes are given in the order of first appearance.
    codes = rows.column("clip_id").combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    to_test = []
    for again in np.setdiff1d(np.arange(len(codes)), first, assume_unique=True).tolist():
        earlier = int(first[codes[again]])
        _require_equal(path, rows[earlier], lines[earlier], rows[again], lines[again])
        if rows[again].partition == "test":
            to_test.append(codes[again])
    return rows.select(first).with_partition("test", np.array(to_test, np.int64))


def _missing_videos(clips: ClipColumns) -> int:
    absent = pc.equal(clips.column("video_path"), "")
    return int(pc.count_distinct(clips.column("video_id").filter(absent)).as_py())


def _clip(row: Mapping[str, str], dataset: Dataset, found: Mapping[str, str]) -> Clip:
    video_id, person = row["video_id"], row.get(PERSON, "")
    check_id("video_id", video_id)
    if dataset == "vox":
        check_id(PERSON, person)
    start, end = parse_int("start", row["start"]), parse_int("end", row["end"])
    left, top, right, bottom = parse_box(row["bbox"])
    return Clip(
        clip_id=clip_id(video_id, start, end, person),
        dataset=dataset,
        video_id=video_id,
        video_path=found.get(video_id, ""),
        start=start,
        end=end,
        fps=parse_float("fps", row["fps"]),
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        ref_width=parse_int("width", row["width"]),
        ref_height=parse_int("height", row["height"]),
        partition=cast(Partition, row["partition"].strip()),
        subject_id=person,
    )


def _require_equal(path: Path, first: Clip, first_line: int, again: Clip, line: int) -> None:
    if replace(again, partition=first.partition) != first:
        raise MetadataError(
            f"{path}: line {line}: clip {again.clip_id} was line {first_line} with another box or frame. "
            f"Keep one of the two."
        )


def _refuse_spanless(path: Path, columns: Iterable[str]) -> None:
    """Refuse the circulating copy of the TED metadata, whose every row has start = end = 0."""
    if all(row["start"].strip() == row["end"].strip() == "0" for _, row in read_csv(path, columns)):
        raise MetadataError(
            f"{path}: start = end = 0 in every row: this copy of the metadata lost its frame spans. "
            f"For TED use ted384-metadata.csv (columns {','.join(COLUMNS)})."
        )
