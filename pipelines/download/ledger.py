"""The record of every video asked for: one JSON line each time one arrived or was given up, never rewritten.

The last line of a video and address counts. A run that is killed leaves at worst half a line at the end, which is
ended and passed over by the next.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.download.reasons import PERMANENT, REASONS
from pipelines.errors import InputError

NAME = "download-ledger.jsonl"
DOWNLOADED = "downloaded"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of the ledger."""

    video_id: str
    """Name of the video, as in the metadata."""
    url: str
    """Where it was asked for, without login and keys (see Source.public_url)."""
    outcome: str
    """`downloaded`, or the reason why not (see reasons.REASONS)."""
    message: str = ""
    """yt-dlp's own words, in one line."""
    file: str = ""
    """The file's name, if it was downloaded."""
    bytes: int = 0
    """The file's size."""
    attempts: int = 1
    """Attempts made in the run that wrote the line."""
    time: str = ""
    """When the line was written, UTC, ISO 8601."""

    @property
    def dead(self) -> bool:
        """Whether asking this address again is pointless."""
        return self.outcome in PERMANENT

    def __post_init__(self) -> None:
        """Refuse what no run wrote (TypeError, ValueError)."""
        for name, value in asdict(self).items():
            kind = int if name in ("bytes", "attempts") else str
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} = {value!r} is no {kind.__name__}")
        if self.outcome != DOWNLOADED and self.outcome not in REASONS:
            raise ValueError(f"outcome = {self.outcome!r} is unknown")


class Ledger:
    """The ledger of a folder of videos, as read, and open for appending if `writable`."""

    def __init__(self, path: Path, handle: int | None = None) -> None:
        self.path = path
        self.damaged_lines: list[int] = []
        """Numbers of the lines that are no records, an unfinished last one left out."""
        self._handle = handle
        self._last: dict[tuple[str, str], Record] = {}
        for record in self._read():
            self._last[record.video_id, record.url] = record

    def last(self, video_id: str, url: str) -> Record | None:
        """What became of the video when this address was asked last."""
        return self._last.get((video_id, url))

    def add(self, record: Record) -> None:
        """Append a line; it is on disk when this returns. Raises OSError if it cannot be."""
        if self._handle is None:
            raise RuntimeError(f"{self.path} was opened for reading")
        line = json.dumps(asdict(record), ensure_ascii=False) + "\n"
        _write(self._handle, line.encode("utf-8", "backslashreplace"))
        self._last[record.video_id, record.url] = record

    def _read(self) -> Iterator[Record]:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        unfinished = len(lines)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield _parse(json.loads(line))
            except (ValueError, TypeError, RecursionError):
                if number != unfinished:
                    self.damaged_lines.append(number)


@contextmanager
def open_ledger(videos: Path) -> Iterator[Ledger]:
    """The ledger of a folder, for this process alone to append to; InputError if another does."""
    path = videos / NAME
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}). Name a folder you may write to."
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{path}: another lia download is at work in this folder. Wait for it or stop it."
            ) from None
        ledger = Ledger(path, handle)
        _end_last_line(handle)
        yield ledger
    finally:
        os.close(handle)


def read_ledger(videos: Path) -> Ledger:
    """The ledger of a folder, for reading."""
    return Ledger(videos / NAME)


def _parse(row: Any) -> Record:
    if not isinstance(row, dict):
        raise TypeError("not an object")
    return Record(**row)


def _end_last_line(handle: int) -> None:
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        _write(handle, b"\n")


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
    os.fsync(handle)
