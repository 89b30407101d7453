"""Readers of the three published metadata formats: VoxCeleb and TaiChi-HD (from FOMM), TED-talks (MRAA).

Columns `video_id,start,end,bbox,fps,width,height,partition`, and `person_id` for VoxCeleb; `bbox` is
`left-top-right-bottom` in whole pixels of a `width` x `height` frame, `start` and `end` are frames at `fps`. A
user's own corpus ("own") has the same columns, and `person_id` where people are known.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from pipelines.clip_table import Clip, Partition, check_id, clip_id, parse_float, parse_int, read_csv
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
        *("json", "txt", "csv", "xml", "vtt", "srt", "ass", "lrc", "description", "md5", "sha256"),
        *("part", "ytdl", "temp", "tmp", "aria2"),
        *("jpg", "jpeg", "png", "webp", "gif", "npy", "npz", "pt", "pkl", "parquet"),
        *("m4a", "mp3", "aac", "opus", "ogg", "wav", "flac"),
    )
)

_BOX = re.compile(r"(-?\d+)-(-?\d+)-(-?\d+)-(-?\d+)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A metadata file as read: its clips, and what was counted on the way."""

    clips: list[Clip]
    """The distinct clips, in the order of their first rows."""
    rows: int
    """Rows in the file, the header left out."""
    duplicates: int
    """Rows left out because an earlier row names the same clip."""
    missing_videos: int
    """Videos named by the file but not found in the folder; their clips become counted failures."""
    sha256: str
    """SHA-256 of the metadata file."""


def read_metadata(path: Path, dataset: Dataset, videos: Path) -> Metadata:
    """Read a published metadata CSV and find its videos as `videos`/<video_id>.<any container>.

    A row that repeats a clip is counted and left out; one that repeats it with another partition moves it to
    test, so that no test clip is trained on (three clips of VoxCeleb). Raises MetadataError naming the line
    for anything else unexpected, and InputError if `videos` is no folder.
    """
    if dataset not in DATASETS:
        raise InputError(f"dataset = {dataset!r} is unknown. Use one of {', '.join(DATASETS)}.")
    found = index_videos(videos)
    rows = read_csv(path, (*COLUMNS, PERSON) if dataset == "vox" else COLUMNS)
    if not rows:
        raise MetadataError(f"{path}: has a header but no rows. Give a file that lists clips.")
    _refuse_spanless(path, rows)
    clips: dict[str, Clip] = {}
    lines: dict[str, int] = {}
    for line, row in rows:
        try:
            clip = _clip(row, dataset, found)
        except ValueError as error:
            raise MetadataError(f"{path}: line {line}: {error}. Correct or remove the row.") from None
        first = clips.setdefault(clip.clip_id, clip)
        clips[clip.clip_id] = _merged(path, first, lines.setdefault(clip.clip_id, line), clip, line)
    return Metadata(
        clips=list(clips.values()),
        rows=len(rows),
        duplicates=len(rows) - len(clips),
        missing_videos=len({clip.video_id for clip in clips.values() if not clip.video_path}),
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


def _clip(row: Mapping[str, str], dataset: Dataset, found: Mapping[str, str]) -> Clip:
    video_id, person = row["video_id"], row.get(PERSON, "") if dataset in ("vox", "own") else ""
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


def _merged(path: Path, first: Clip, first_line: int, again: Clip, line: int) -> Clip:
    if replace(again, partition=first.partition) != first:
        raise MetadataError(
            f"{path}: line {line}: clip {again.clip_id} was line {first_line} with another box or frame. "
            f"Keep one of the two."
        )
    return again if again.partition == "test" else first


def _refuse_spanless(path: Path, rows: Iterable[tuple[int, Mapping[str, str]]]) -> None:
    """Refuse the circulating copy of the TED metadata, whose every row has start = end = 0."""
    if all(row["start"].strip() == row["end"].strip() == "0" for _, row in rows):
        raise MetadataError(
            f"{path}: start = end = 0 in every row: this copy of the metadata lost its frame spans. "
            f"For TED use ted384-metadata.csv (columns {','.join(COLUMNS)})."
        )
