"""The videos of a metadata file into a folder, with a ledger beside them: what is asked for, and what came of it."""

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.metadata import Metadata, index_videos
from pipelines.download.attempt import WORK_FOLDER, Fetched, VideoAttempt
from pipelines.download.config import DownloadConfig
from pipelines.download.coverage import Coverage, State, coverage
from pipelines.download.ledger import DOWNLOADED, NAME, Ledger, Record, open_ledger, read_ledger
from pipelines.download.reasons import REASONS, Refused
from pipelines.download.schedule import Schedule
from pipelines.download.source import Source
from pipelines.errors import InputError
from pipelines.progress import progress_line


@dataclass(frozen=True, kw_only=True)
class DownloadSummary:
    """How a download ended."""

    videos: Path
    coverage: Coverage
    reasons: dict[str, int]
    """Videos that are not there, by reason; those not asked for yet under the empty reason."""
    damaged_lines: list[int]
    """Lines of the ledger that are no records."""
    stopped: bool = False
    """Whether it stopped early, after too many failures in a row."""

    @property
    def complete(self) -> bool:
        """Whether there are videos, and all others are dead."""
        counts = self.coverage.videos["all"]
        return counts["there"] > 0 and counts["left"] == 0

    def report(self) -> str:
        """The coverage table, the reasons, and what to do."""
        ledger = self.videos / NAME
        lines = [self.coverage.table()]
        for reason, count in self.reasons.items():
            lines.append(f"  {reason or 'not asked for yet':18} {count:,}")
        if any(self.reasons):
            lines.append(f"  (each with its message in {ledger})")
        if self.damaged_lines:
            numbers = ", ".join(map(str, self.damaged_lines[:5]))
            lines.append(
                f"  {ledger}: {len(self.damaged_lines)} lines are no records (line {numbers}); passed over"
            )
        if self.stopped:
            lines.append("  stopped early: too many attempts failed in a row. See the ledger's last lines.")
        if self.coverage.videos["all"]["left"]:
            lines.append("  run the same command again for the videos that are left")
        return "\n".join(lines)


def download(
    metadata: Metadata,
    source: Source,
    config: DownloadConfig,
    videos: Path,
    *,
    retry_dead: bool = False,
    progress: bool = True,
    cluster: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> DownloadSummary:
    """Download the videos of `metadata` that `videos` lacks, on the Ray cluster that is connected.

    Call `ray.init` before, or give a context that connects as `cluster`: it is entered only if there is something
    to download. On a cluster `videos` lies on storage that all nodes share under the same path. An address that
    the ledger calls dead is not asked again unless `retry_dead`. Raises InputError if `videos` is no folder,
    another download works in it, or yt-dlp is needed and not installed; StorageError if the disk fails.
    """
    stopped = False
    there = index_videos(videos)
    with open_ledger(videos) as ledger:
        pending = [
            video_id
            for video_id in _video_ids(metadata)
            if video_id not in there and (retry_dead or not _dead(ledger, source, video_id))
        ]
        if pending:
            require_ytdlp()
            with cluster():
                stopped = _run(pending, VideoAttempt(videos.absolute(), source, config), ledger, progress)
            _remove_if_empty(videos / WORK_FOLDER)
        return _summary(metadata, source, videos, ledger, stopped)


def status(metadata: Metadata, source: Source, videos: Path) -> DownloadSummary:
    """What is there and what is known to be dead, without downloading or writing anything.

    A folder that is still to be made holds nothing.
    """
    return _summary(metadata, source, videos, read_ledger(videos), stopped=False)


def require_ytdlp() -> None:
    """Raise InputError unless yt-dlp can be imported."""
    if importlib.util.find_spec("yt_dlp") is None:
        raise InputError(
            "yt-dlp is not installed: pip install 'lia-platform[download]'. Videos that you have already need no "
            "download: name their folder to lia prepare."
        )


def _run(pending: list[str], attempt: VideoAttempt, ledger: Ledger, progress: bool) -> bool:
    """Attempt all of `pending`; whether the schedule stopped early."""
    from pipelines.download.distribute import run_attempts

    schedule = Schedule(pending, attempt.config)
    waiting: dict[str, Refused] = {}
    done: Counter[str] = Counter()
    at_work = 0

    def count(attempts: int) -> None:
        nonlocal at_work
        at_work = attempts

    def ended(video_id: str, outcome: Fetched | Refused) -> None:
        if isinstance(outcome, Refused) and schedule.failed(video_id, outcome):
            waiting[video_id] = outcome
            return
        if isinstance(outcome, Fetched):
            schedule.settled()
        waiting.pop(video_id, None)
        ledger.add(_record(video_id, outcome, attempt.source, schedule.attempts[video_id]))
        done[outcome.reason if isinstance(outcome, Refused) else ""] += 1

    with progress_line(
        lambda: Counter(done),
        Counter(),
        len(pending),
        sys.stderr if progress else None,
        name="download",
        unit="videos",
        beside=lambda: f"{at_work} at work",
    ):
        run_attempts(attempt, schedule, ended, count)
    for video_id, refused in waiting.items():
        ledger.add(_record(video_id, refused, attempt.source, schedule.attempts[video_id]))
    return schedule.stopped


def _record(video_id: str, outcome: Fetched | Refused, source: Source, attempts: int) -> Record:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    url = source.public_url(video_id)
    if isinstance(outcome, Fetched):
        return Record(
            video_id=video_id, url=url, outcome=DOWNLOADED, file=outcome.file, bytes=outcome.bytes,
            attempts=attempts, time=now,
        )  # fmt: skip
    return Record(
        video_id=video_id,
        url=url,
        outcome=outcome.reason,
        message=outcome.message,
        attempts=attempts,
        time=now,
    )


def _video_ids(metadata: Metadata) -> list[str]:
    """In the order of their first clips."""
    return list(ClipColumns.of(metadata.clips).column("video_id").unique().to_pylist())


def _dead(ledger: Ledger, source: Source, video_id: str) -> bool:
    record = ledger.last(video_id, source.public_url(video_id))
    return record is not None and record.dead


def _summary(
    metadata: Metadata, source: Source, videos: Path, ledger: Ledger, stopped: bool
) -> DownloadSummary:
    there = index_videos(videos) if videos.exists() else {}

    def state(video_id: str) -> State:
        if video_id in there:
            return "there"
        return "dead" if _dead(ledger, source, video_id) else "left"

    def absent_reasons() -> Iterator[str]:
        for video_id in _video_ids(metadata):
            if video_id in there:
                continue
            record = ledger.last(video_id, source.public_url(video_id))
            yield record.outcome if record and record.outcome != DOWNLOADED else ""

    counts = Counter(absent_reasons())
    return DownloadSummary(
        videos=videos,
        coverage=coverage(metadata.clips, state),
        reasons={reason: counts[reason] for reason in (*REASONS, "") if counts[reason]},
        damaged_lines=ledger.damaged_lines,
        stopped=stopped,
    )


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
