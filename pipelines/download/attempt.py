"""One attempt at one video: yt-dlp as a library, resumed where an earlier attempt stopped, published whole.

    DIR/<video_id>.<ext>                     a finished video
    DIR/.download/<video_id>-<address>/      what attempts leave until then; a folder, so never taken for a video

yt-dlp itself retries nothing but parts of a stream: waiting is the schedule's part, and occupies no worker.
"""

import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.corpus.clip_table import check_id
from pipelines.download.config import DownloadConfig
from pipelines.download.reasons import Refused, one_line
from pipelines.download.source import Source
from pipelines.errors import StorageError, VideoError
from pipelines.media.probe import probe
from pipelines.storage.atomic import move_into_place

WORK_FOLDER = ".download"
LOCK = "lock"
# The file's ending where the address has none: by ffmpeg's first name of the container.
_ENDINGS = {"mov": ".mp4", "matroska": ".mkv", "avi": ".avi", "mpegts": ".ts", "flv": ".flv"}


@dataclass(frozen=True)
class Fetched:
    """A video that is there now."""

    file: str
    """The file's name in the folder of videos."""
    bytes: int
    """Its size."""


@dataclass(frozen=True)
class VideoAttempt:
    """All that an attempt needs besides the id; goes to Ray's workers."""

    videos: Path
    source: Source
    config: DownloadConfig

    def run(self, video_id: str) -> Fetched | Refused:
        """Download one video. Raises StorageError when the folder is absent on this machine, or the disk full or not
        writable, ValueError for an id that could lead out of the folder."""
        check_id("video_id", video_id)
        if not self.videos.is_dir():
            raise StorageError(
                f"{self.videos}: not there on {socket.gethostname()}. On a cluster all nodes need the folder under "
                f"the same path, on storage that they share."
            )
        folder = self.videos / WORK_FOLDER / f"{video_id}-{_digest(self.source.url(video_id))}"
        try:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir(exist_ok=True)
            with _locked(folder) as ours:
                if not ours:
                    return Refused("in_use", f"another process is downloading into {folder}")
                return self._run(video_id, folder)
        except OSError as error:
            raise _storage_error(self.videos, error) from error

    def _run(self, video_id: str, folder: Path) -> Fetched | Refused:
        from pipelines.download.ytdlp import fetch

        downloaded = fetch(self.source.url(video_id), folder, self.source, self.config)
        outcome = _publish(downloaded, self.videos / video_id) if isinstance(downloaded, Path) else downloaded
        if isinstance(outcome, Fetched) or outcome.permanent or [*folder.iterdir()] == [folder / LOCK]:
            shutil.rmtree(folder, ignore_errors=True)
        return outcome


def _publish(finished: Path, target: Path) -> Fetched | Refused:
    """Move a downloaded file to its name (`target` has no ending yet), if it is a video."""
    from yt_dlp.utils import MEDIA_EXTENSIONS

    try:
        container = probe(finished).container
    except VideoError as error:
        finished.unlink(missing_ok=True)
        message = one_line(str(error)).replace(str(finished), "the file downloaded")
        no_video = error.reason in ("no_video_stream", "still_image")
        return Refused("not_a_video" if no_video else "damaged", message)
    ending = finished.suffix.lower()
    if ending.removeprefix(".") not in MEDIA_EXTENSIONS.video:
        ending = _ENDINGS.get(container.partition(",")[0], ".video")
    target = target.with_name(target.name + ending)
    move_into_place(finished, target)
    return Fetched(target.name, target.stat().st_size)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this process alone works in `folder`: one left over from a killed run may still do so."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the other process has just finished and removed the folder
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = True
    except BlockingIOError:
        ours = False
    try:
        yield ours
    finally:
        os.close(handle)


def _storage_error(videos: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{videos}: cannot be written to ({error.strerror or error}). What is there is kept; mend it, then run the "
        f"same command again."
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
