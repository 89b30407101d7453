"""The folder of an annotation: whose it is, one record a video, and the files made from all of them.

OUT/clips.csv          the clips in the published columns, which `lia prepare` reads
OUT/clips.parquet      the same as a clip table
OUT/videos.parquet     one row a video: size, rate, frames, shots, tracks, clips, what was dropped and why
OUT/failures.parquet   one row a video that could not be used, with the reason
OUT/annotation.json    settings and counts; written last
OUT/.records/          what resuming goes by
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from pipelines.annotation.published_csv import write_published_csv
from pipelines.annotation.records import DROP_REASONS, VideoRecord, printable, read_record, write_record
from pipelines.corpus.clip_table import Clip, write_clip_table
from pipelines.errors import DatasetError
from pipelines.storage.store import LocalStore, writing

# Version of what annotating writes; goes up when the same inputs would give other clips.
SCHEMA_VERSION = 1
DESCRIPTION = "annotation.json"
CLIPS_CSV = "clips.csv"
CLIPS_TABLE = "clips.parquet"
_RECORDS = ".records"
_MARK = "settings.json"
_LOCK = ".lock"
_RESULTS = (DESCRIPTION, CLIPS_CSV, CLIPS_TABLE, "videos.parquet", "failures.parquet")

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

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for this process; creates it, or makes sure that it is this annotation's.

        Raises DatasetError if it is another's, or another process is at work in it.
        """
        self._refuse_other_files()
        lock = FileLock(self.out / _RECORDS / _LOCK, blocking=False)
        with writing(self.out):
            (self.out / _RECORDS).mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                raise DatasetError(
                    f"{self.out}: another annotation is at work in this folder. Wait for it, or name another one."
                ) from None
        with lock:
            mark = self.out / _RECORDS / _MARK
            if mark.is_file():
                self._compare(mark)
            else:
                _write_json(mark, self._identity())
            yield

    def record(self, video_path: str, source: str) -> VideoRecord | None:
        """What was found in a video before, if its files are still in the state `source`."""
        return read_record(self.out / _RECORDS, video_path, source)

    def keep(self, record: VideoRecord, source: str) -> None:
        """Count a video as done."""
        write_record(self.out / _RECORDS, record, source)

    def reopen(self) -> None:
        """Withdraw the results before videos are looked through: what is unfinished must not look finished."""
        store = LocalStore(self.out)
        for name in _RESULTS:
            store.remove(name)
        for folder in ("", _RECORDS):
            store.remove_leftovers(folder)

    def publish(
        self,
        records: Sequence[VideoRecord],
        clips: Sequence[Clip],
        with_persons: bool,
        description: dict[str, Any],
    ) -> None:
        """Write the results; the same records and clips give the same bytes.

        `description` goes into annotation.json.
        """
        with writing(self.out / CLIPS_CSV):
            write_published_csv(self.out / CLIPS_CSV, clips, with_persons)
        with writing(self.out / CLIPS_TABLE):
            write_clip_table(self.out / CLIPS_TABLE, clips)
        _write_rows(self.out / "videos.parquet", _VIDEO_SCHEMA, map(_video_row, _sound(records)))
        _write_rows(self.out / "failures.parquet", _FAILURE_SCHEMA, _failure_rows(records))
        _write_json(self.out / DESCRIPTION, {**self._identity(), **description})

    def _refuse_other_files(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise DatasetError(f"{self.out}: is a file. Name a folder to write the clips to.")
        if not self.out.is_dir() or (self.out / _RECORDS / _MARK).is_file():
            return
        # A process that was killed early leaves no more than this.
        begun = {path.name for path in (self.out / _RECORDS).glob("*")}
        if {path.name for path in self.out.iterdir()} - {_RECORDS} or any(
            name != _LOCK and not name.endswith(".partial") for name in begun
        ):
            raise DatasetError(f"{self.out}: holds other files. Name an empty or new folder.")

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


def _sound(records: Iterable[VideoRecord]) -> list[VideoRecord]:
    return [record for record in records if record.failure is None]


def _video_row(record: VideoRecord) -> dict[str, Any]:
    columns = {name: getattr(record, name) for name in _VIDEO_SCHEMA.names if name not in DROP_REASONS}
    dropped = {reason: record.dropped.get(reason, 0) for reason in DROP_REASONS}
    return {**columns, "clips": len(record.clips), **dropped}


def _failure_rows(records: Iterable[VideoRecord]) -> list[dict[str, str]]:
    return [
        {
            "video_id": printable(record.video_id),
            "video_path": printable(record.video_path),
            "reason": record.failure.reason,
            "message": printable(record.failure.message),
        }
        for record in records
        if record.failure
    ]


def _write_rows(path: Path, schema: Any, rows: Iterable[dict[str, Any]]) -> None:
    with LocalStore(path.parent).publish(path.name, keep_equal=True) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows), schema), partial)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with LocalStore(path.parent).publish(path.name, keep_equal=True) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
