"""The folder of an annotation: whose it is, one record a video, and the files made from all of them.

OUT/clips.csv          the clips in the published columns, which `lia prepare` reads
OUT/clips.parquet      the same as a clip table
OUT/videos.parquet     one row a video: size, rate, frames, shots, tracks, clips, what was dropped and why
OUT/failures.parquet   one row a video that could not be used, with the reason
OUT/annotation.json    settings and counts; written last
OUT/.records/          what resuming goes by
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.annotation.published_csv import write_published_csv
from pipelines.annotation.records import DROP_REASONS, VideoRecord, read_record, write_record
from pipelines.corpus.clip_table import PARTITIONS, Clip, write_clip_table
from pipelines.errors import DatasetError
from pipelines.storage.atomic import atomic_path

# Version of what annotating writes; goes up when the same inputs would give other clips.
SCHEMA_VERSION = 1
DESCRIPTION = "annotation.json"
CLIPS_CSV = "clips.csv"
_RECORDS = ".records"
_MARK = "settings.json"
_RESULTS = (DESCRIPTION, CLIPS_CSV, "clips.parquet", "videos.parquet", "failures.parquet")

_VIDEO_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("video_id", "video_path")),
        *(pa.field(name, pa.int64(), False) for name in ("width", "height")),
        pa.field("fps", pa.float64(), False),
        *(
            pa.field(name, pa.int64(), False)
            for name in ("frames", "shots", "tracks", "clips", *DROP_REASONS)
        ),
    ]
)
_FAILURE_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), False) for name in ("video_id", "video_path", "reason", "message")]
)


@dataclass(frozen=True, kw_only=True)
class AnnotationFolder:
    """One annotation's folder, claimed for one detector and one set of settings."""

    out: Path
    settings: dict[str, Any]
    """All that decides what is found in a video."""

    def claim(self) -> None:
        """Create the folder or make sure that it is this annotation's; raises DatasetError if it is another's."""
        mark = self.out / _RECORDS / _MARK
        if mark.is_file():
            self._compare(mark)
            return
        if self.out.exists() and not self.out.is_dir():
            raise DatasetError(f"{self.out}: is a file. Name a folder to write the clips to.")
        if self.out.is_dir() and any(self.out.iterdir()):
            raise DatasetError(f"{self.out}: holds other files. Name an empty or new folder.")
        mark.parent.mkdir(parents=True, exist_ok=True)
        _write_json(mark, self._identity())

    def record(self, video_path: str, source: str) -> VideoRecord | None:
        """What was found in a video before, if its files are still in the state `source`."""
        return read_record(self.out / _RECORDS, video_path, source)

    def keep(self, record: VideoRecord, source: str) -> None:
        """Count a video as done."""
        write_record(self.out / _RECORDS, record, source)

    def reopen(self) -> None:
        """Withdraw the results before videos are looked through: what is unfinished must not look finished."""
        for name in _RESULTS:
            (self.out / name).unlink(missing_ok=True)
        for leftover in (*self.out.glob(".*.partial"), *(self.out / _RECORDS).glob(".*.partial")):
            leftover.unlink(missing_ok=True)

    def publish(self, records: Sequence[VideoRecord], clips: Sequence[Clip], with_persons: bool) -> None:
        """Write the results; the same records and clips give the same bytes."""
        write_published_csv(self.out / CLIPS_CSV, clips, with_persons)
        write_clip_table(self.out / "clips.parquet", clips)
        _write_rows(self.out / "videos.parquet", _VIDEO_SCHEMA, map(_video_row, _sound(records)))
        _write_rows(self.out / "failures.parquet", _FAILURE_SCHEMA, _failure_rows(records))
        _write_json(self.out / DESCRIPTION, {**self._identity(), "counts": _counts(records, clips)})

    def _identity(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, "settings": self.settings}

    def _compare(self, mark: Path) -> None:
        try:
            there = json.loads(mark.read_bytes())
            version, settings = there["schema_version"], dict(there["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{mark}: damaged ({error}). Delete {self.out} or name another folder."
            ) from None
        here = json.loads(json.dumps(self.settings))
        if version == SCHEMA_VERSION and settings == here:
            return
        names = sorted({*settings, *here})
        changes = [
            f"{name} {settings.get(name)}, now {here.get(name)}"
            for name in names
            if settings.get(name) != here.get(name)
        ]
        raise DatasetError(
            f"{self.out}: holds clips made with other settings ({'; '.join(changes) or f'format {version}'}). "
            f"Name another folder or delete this one."
        )


def _counts(records: Sequence[VideoRecord], clips: Sequence[Clip]) -> dict[str, Any]:
    dropped: Counter[str] = Counter()
    for record in records:
        dropped.update(record.dropped)
    partitions = Counter(clip.partition for clip in clips)
    reasons = Counter(record.failure.reason for record in records if record.failure)
    return {
        "videos": len(records),
        "videos_failed": sum(reasons.values()),
        "videos_by_reason": dict(sorted(reasons.items())),
        "frames": sum(record.frames for record in records),
        "tracks": sum(record.tracks for record in records),
        "tracks_dropped": {reason: dropped[reason] for reason in DROP_REASONS if dropped[reason]},
        "clips": len(clips),
        "clips_by_partition": {name: partitions[name] for name in PARTITIONS},
    }


def _sound(records: Iterable[VideoRecord]) -> list[VideoRecord]:
    return [record for record in records if record.failure is None]


def _video_row(record: VideoRecord) -> dict[str, Any]:
    columns = {name: getattr(record, name) for name in _VIDEO_SCHEMA.names if name not in DROP_REASONS}
    dropped = {reason: record.dropped.get(reason, 0) for reason in DROP_REASONS}
    return {**columns, "clips": len(record.clips), **dropped}


def _failure_rows(records: Iterable[VideoRecord]) -> list[dict[str, str]]:
    return [
        {
            "video_id": record.video_id,
            "video_path": record.video_path,
            "reason": record.failure.reason,
            "message": record.failure.message,
        }
        for record in records
        if record.failure
    ]


def _write_rows(path: Path, schema: Any, rows: Iterable[dict[str, Any]]) -> None:
    with atomic_path(path, keep_equal=True) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows), schema), partial)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path, keep_equal=True) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
