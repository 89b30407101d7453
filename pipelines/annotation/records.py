"""What was found in one video, and the file that keeps it: a video with a record is done."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pipelines.corpus.clip_table import PARTITIONS, Clip
from pipelines.corpus.spans import Box
from pipelines.storage.atomic import atomic_path
from pipelines.storage.store import writing

FailureReason = Literal[
    "missing_video",
    "empty_file",
    "unreadable",
    "still_image",
    "no_video_stream",
    "too_large",
    "timed_out",
    "crashed",
    "unusable_name",
    "no_utterances",
    "bad_utterance",
]
FAILURE_REASONS: tuple[str, ...] = get_args(FailureReason)

DropReason = Literal["too_short", "too_small", "outside_frame", "same_frames"]
DROP_REASONS: tuple[str, ...] = get_args(DropReason)


@dataclass(frozen=True, order=True)
class FoundClip:
    """Frames [start, end) of the video in which one person is seen, and the square to cut."""

    subject: str
    """Who it is, where utterances say so; else empty."""
    start: int
    end: int
    left: int
    top: int
    right: int
    bottom: int

    @property
    def box(self) -> Box:
        """The square."""
        return Box(self.left, self.top, self.right, self.bottom)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why nothing can be said of a video."""

    reason: str
    """One of FAILURE_REASONS."""
    message: str

    def __post_init__(self) -> None:
        """Refuse a reason that is none."""
        if self.reason not in FAILURE_REASONS:
            raise ValueError(
                f"Failure.reason must be one of {', '.join(FAILURE_REASONS)}, got {self.reason!r}"
            )


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """One video and what was found in it."""

    video_id: str
    video_path: str
    """File name in the folder of videos."""
    width: int = 0
    """Pixels across, of the frames that the squares are drawn in."""
    height: int = 0
    """Pixels down."""
    fps: float = 0.0
    """Frames a second."""
    frames: int = 0
    """Frames decoded."""
    shots: int = 0
    """Stretches without a cut."""
    clips: tuple[FoundClip, ...] = ()
    """Sorted by subject and start."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Tracks that became no clip, by one of DROP_REASONS."""
    failure: Failure | None = None

    @property
    def tracks(self) -> int:
        """Tracks found, kept or not."""
        return len(self.clips) + sum(self.dropped.values())


def write_record(folder: Path, record: VideoRecord, source: str) -> None:
    """Keep a record; `source` says of which state of the video's files it is."""
    path = _path(folder, record.video_path)
    with writing(path), atomic_path(path) as partial:
        content = {"source": source, "record": asdict(record)}
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path, video_path: str, source: str) -> VideoRecord | None:
    """The record of a video, or None if there is none, it is torn, or the video's files have changed since."""
    try:
        content = json.loads(_path(folder, video_path).read_bytes())
        if content["source"] != source:
            return None
        record = _record(content["record"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if record.video_path == video_path else None


def printable(text: str) -> str:
    """A file name, or a message with one, that may hold bytes that are not UTF-8: those are escaped."""
    return text.encode(errors="backslashreplace").decode()


def _record(content: dict[str, Any]) -> VideoRecord:
    failure = content["failure"]
    return VideoRecord(
        **{
            **content,
            "clips": tuple(FoundClip(**clip) for clip in content["clips"]),
            "failure": None if failure is None else Failure(**failure),
        }
    )


def _path(folder: Path, video_path: str) -> Path:
    # File names may be as long as the file system takes, without room for another ending.
    return folder / f"{hashlib.sha256(video_path.encode(errors='surrogateescape')).hexdigest()[:32]}.json"


def count(records: Sequence[VideoRecord], clips: Sequence[Clip]) -> dict[str, Any]:
    """Sums of an annotation; raises RuntimeError where they do not add up."""
    dropped: Counter[str] = Counter()
    for record in records:
        dropped.update(record.dropped)
    partitions = Counter(clip.partition for clip in clips)
    reasons = Counter(record.failure.reason for record in records if record.failure)
    tracks = sum(record.tracks for record in records)
    if tracks != len(clips) + dropped.total():
        raise RuntimeError(f"clips were lost: {tracks} tracks, {len(clips)} clips, {dropped.total()} dropped")
    return {
        "videos": len(records),
        "videos_failed": reasons.total(),
        "videos_by_reason": {reason: reasons[reason] for reason in FAILURE_REASONS if reasons[reason]},
        "frames": sum(record.frames for record in records),
        "tracks": tracks,
        "tracks_dropped": {reason: dropped[reason] for reason in DROP_REASONS if dropped[reason]},
        "clips": len(clips),
        "clips_by_partition": {name: partitions[name] for name in PARTITIONS},
    }
