"""yt-dlp as a library: one address into one folder, and what its exceptions mean."""

import errno
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import PostProcessingError, UnsupportedError, YoutubeDLError

from pipelines.download.config import DownloadConfig
from pipelines.download.reasons import Refused, by_status, by_words, one_line
from pipelines.download.source import Source
from pipelines.media.ffmpeg_binary import ffmpeg_binary

FRAGMENT_RETRIES = 5
STALLED_SECONDS = 30.0
# What no other video will change: the disk, not the network.
_STORAGE_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EIO,
    errno.EFBIG,
    errno.EMFILE,
}


def fetch(url: str, folder: Path, source: Source, config: DownloadConfig) -> Path | Refused:
    """Download a video into `folder`, or go on with what is there; the file, or why there is none.

    Raises OSError where the disk is the reason.
    """
    try:
        with _Downloader(folder, source, config) as downloader:
            info = downloader.extract_info(url) or {}
    except Exception as error:  # noqa: BLE001 - whatever a page makes of yt-dlp, other videos go on
        return _refusal(error)
    downloads = info.get("requested_downloads") or []
    if len(downloads) != 1:
        count = f"{len(list(info.get('entries') or []))} videos" if "entries" in info else "no video"
        return Refused("not_a_video", one_line(f"{url}: a page of {count}, not a video"))
    return Path(downloads[0]["filepath"])


class _Downloader(YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp, working in one folder whatever characters its path has."""

    def __init__(self, folder: Path, source: Source, config: DownloadConfig) -> None:
        self._folder = folder
        super().__init__(_options(source, config))

    def prepare_filename(self, info_dict: dict[str, Any], *args: Any, **kwargs: Any) -> str:
        """The path to write to. yt-dlp would expand $NAME and ~ in a folder given with its own options."""
        return str(self._folder / Path(super().prepare_filename(info_dict, *args, **kwargs)).name)


def _options(source: Source, config: DownloadConfig) -> dict[str, Any]:
    """yt-dlp retries nothing but parts of a stream: to wait is the schedule's part, and must occupy no worker."""
    return {
        # The format's name is in the file's, so that one format is never resumed with another's bytes.
        "outtmpl": {"default": "%(format_id).60s.%(ext)s"},
        "format": "bv*+ba/b" if config.audio else "bv*",
        "format_sort": [f"res:{config.height}"],
        "ratelimit": config.bytes_per_second or None,
        "proxy": source.proxy,
        "cookiefile": io.StringIO(source.cookies) if source.cookies else None,
        "ffmpeg_location": ffmpeg_binary(),
        "socket_timeout": STALLED_SECONDS,
        "retries": 0,
        "fragment_retries": FRAGMENT_RETRIES,
        "retry_sleep_functions": {"fragment": lambda n: min(2.0**n, 30.0)},
        # By default a stream's missing parts are left out of the video without a word.
        "skip_unavailable_fragments": False,
        # A page that holds several videos holds none that is known to be ours.
        "extract_flat": "in_playlist",
        "noplaylist": True,
        "updatetime": False,
        "logger": _Silence(),
        "noprogress": True,
        "color": {"stdout": "no_color", "stderr": "no_color"},
    }


def _refusal(error: BaseException) -> Refused:
    """The reason behind an exception that left yt-dlp; raises OSError where it is the disk."""
    named = "" if isinstance(error, YoutubeDLError) else f"{type(error).__name__}: "
    message = one_line(f"{named}{error}")
    for cause in _causes(error):
        if isinstance(cause, HTTPError):
            return Refused(by_status(cause.status, message), message, _retry_after(cause.response.headers))
        if isinstance(cause, TransportError):
            return Refused("connection", message)
        if isinstance(cause, UnsupportedError):
            return Refused("not_a_video", message)
        if isinstance(cause, OSError) and cause.errno in _STORAGE_ERRNOS:
            raise cause
        if isinstance(cause, PostProcessingError):
            return Refused("processing_failed", message)
    return Refused(by_words(message), message)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, the way yt-dlp and Python record it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        recorded = getattr(error, "exc_info", None)
        inner = (recorded and recorded[1]) or getattr(error, "cause", None) or error.__context__
        error = inner if isinstance(inner, BaseException) else None


def _retry_after(headers: Any) -> float:
    asked = str(headers.get("Retry-After") or "")
    return float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0.0


class _Silence:
    """yt-dlp's logger: what matters comes as an exception."""

    def debug(self, message: str) -> None:
        """Say nothing."""

    warning = error = debug
