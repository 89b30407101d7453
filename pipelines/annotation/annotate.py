"""Raw videos in, clips with the squares to cut out: who is seen where, for `lia prepare` to cut.

On a cluster the videos and the utterances lie on storage that all nodes share under the same path. A video that was
looked through is not looked through again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.detections import Detector
from pipelines.annotation.folder import AnnotationFolder
from pipelines.annotation.records import VideoRecord, count, printable
from pipelines.annotation.subjects import subjects_of
from pipelines.annotation.utterances import index_utterances
from pipelines.annotation.video_task import RawVideo, check_video_name
from pipelines.corpus.clip_table import PARTITIONS, Clip, clip_id
from pipelines.corpus.metadata import Dataset, index_videos
from pipelines.corpus.subject_split import choose_test_subjects
from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True)
class AnnotateJob:
    """What to look through, and with what."""

    videos: Path
    """Folder of <video_id>.<any container> files."""
    out: Path
    """Folder of the results."""
    config: AnnotateConfig
    load: Callable[[], Detector]
    """Loads the detector, in the process that is to use it; the detector keeps to `config.min_score` itself."""
    detector: str
    """Names the detector and its weights; another name is another annotation."""
    utterances: Path | None = None
    """VoxCeleb's folder of utterance files; then only the people in them are tracked."""
    subjects: str | None = None
    """A CSV file or a pattern that says who is in each video; see `subjects_of`."""


@dataclass(frozen=True, kw_only=True)
class AnnotateSummary:
    """How an annotation ended; videos = annotated + failed, tracks = clips + dropped."""

    out: Path
    dataset: Dataset
    """Which metadata format clips.csv has, as `lia prepare --dataset` calls it."""
    videos: int
    videos_kept: int
    """Of them, those that were done before."""
    failures: dict[str, int]
    """Videos that could not be used, by reason."""
    tracks: int
    dropped: dict[str, int]
    """Tracks that made no clip, by reason."""
    partitions: dict[str, int]
    """Clips by partition."""
    absent: int
    """Videos that the utterances name and the folder lacks."""

    @property
    def clips(self) -> int:
        """Clips in all."""
        return sum(self.partitions.values())

    def report(self) -> str:
        """The sums of videos and of tracks, and where to read about what failed."""
        failed, dropped = sum(self.failures.values()), sum(self.dropped.values())
        kept = f" ({self.videos_kept} of them done before)" if self.videos_kept else ""
        lines = [f"{self.videos} videos{kept} = {self.videos - failed} annotated + {failed} failed"]
        lines += [f"  {reason:18} {count}" for reason, count in self.failures.items()]
        if failed:
            lines.append(f"  (each with its message in {self.out / 'failures.parquet'})")
        lines.append(f"{self.tracks} tracks = {self.clips} clips + {dropped} dropped, in {self.out}")
        lines += [f"  {reason:18} {count:<6} {_REMEDIES[reason]}" for reason, count in self.dropped.items()]
        lines.append("  " + ", ".join(f"{count} {name}" for name, count in self.partitions.items()))
        if self.absent:
            lines.append(f"  the utterances name {self.absent} more videos, which are not in the folder")
        for name in PARTITIONS:
            if self.clips and not self.partitions[name]:
                lines.append(
                    f"  no clip has partition = {name}: give more subjects, or another test_fraction"
                )
        return "\n".join(lines)


_REMEDIES: Mapping[str, str] = {
    "too_short": "(see --annotate.min_frames)",
    "too_small": "(see --annotate.min_px)",
    "outside_frame": "(see --annotate.out_of_frame and --annotate.widen)",
    "same_frames": "(another person is seen in the very same frames)",
}


def annotate(
    job: AnnotateJob,
    *,
    retry_failed: bool = False,
    progress: bool = True,
    cluster: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> AnnotateSummary:
    """Look through all videos of the folder on the Ray cluster that is connected, and publish the clips.

    Videos done before are kept, unless their files have changed since, or they failed and `retry_failed` asks
    for them anew. Call `ray.init` before, or give a context that connects as `cluster`: it is entered only if
    there are videos to look through. Raises InputError for unusable folders, settings and subjects; a video
    that cannot be used is counted, never raised.
    """
    videos, absent = _find_videos(job)
    subjects = _subjects(job, videos)
    folder = AnnotationFolder(out=job.out, settings=_settings(job))
    with folder.claimed():
        return _annotate(job, folder, videos, subjects, absent, retry_failed, progress, cluster)


def _annotate(
    job: AnnotateJob,
    folder: AnnotationFolder,
    videos: Sequence[RawVideo],
    subjects: Mapping[str, str] | None,
    absent: int,
    retry_failed: bool,
    progress: bool,
    cluster: Callable[[], AbstractContextManager[object]],
) -> AnnotateSummary:
    sources = {video.video_id: _state(video) for video in videos}
    records = {
        video.video_id: record
        for video in videos
        if (record := folder.record(video.path.name, sources[video.video_id]))
        and not (retry_failed and record.failure)
    }
    kept = len(records)
    pending = [video for video in videos if video.video_id not in records]
    if pending:
        with cluster():
            from pipelines.annotation.actors import processes

            with processes(job.config, job.load, len(pending)) as started:
                folder.reopen()
                for video, record in started.run(pending, records.values(), progress):
                    folder.keep(record, sources[video.video_id])
                    records[video.video_id] = record
    ordered = [records[video.video_id] for video in videos]
    dataset: Dataset = "vox" if job.utterances else "own"
    clips = clips_of(ordered, subjects, dataset, job.config.test_fraction)
    counts = count(ordered, clips)
    split = {
        "test_fraction": job.config.test_fraction,
        "subjects": "--utterances" if job.utterances else job.subjects and printable(job.subjects),
    }
    with_persons = job.utterances is not None or subjects is not None
    folder.publish(ordered, clips, with_persons, {"split": split, "counts": counts})
    return AnnotateSummary(
        out=job.out,
        dataset=dataset,
        videos=len(videos),
        videos_kept=kept,
        failures=counts["videos_by_reason"],
        tracks=counts["tracks"],
        dropped=counts["tracks_dropped"],
        partitions=counts["clips_by_partition"],
        absent=absent,
    )


def clips_of(
    records: Sequence[VideoRecord],
    subjects: Mapping[str, str] | None,
    dataset: Dataset,
    test_fraction: float,
) -> list[Clip]:
    """The clip table of all records: subjects filled in, and partitions such that no subject is in both.

    A video without subjects counts as one of its own, whoever is in it.
    """
    found = [
        (record, clip, clip.subject or (subjects or {}).get(record.video_id, ""))
        for record in records
        for clip in record.clips
    ]
    tested = choose_test_subjects((subject or record.video_id for record, _, subject in found), test_fraction)
    return [
        Clip(
            clip_id=clip_id(record.video_id, clip.start, clip.end, subject),
            dataset=dataset,
            video_id=record.video_id,
            video_path=record.video_path,
            start=clip.start,
            end=clip.end,
            fps=record.fps,
            left=clip.left,
            top=clip.top,
            right=clip.right,
            bottom=clip.bottom,
            ref_width=record.width,
            ref_height=record.height,
            partition="test" if (subject or record.video_id) in tested else "train",
            subject_id=subject,
        )
        for record, clip, subject in found
    ]


def _find_videos(job: AnnotateJob) -> tuple[list[RawVideo], int]:
    """The videos to look through, by name, and how many more the utterances name."""
    found = index_videos(job.videos)
    if not found:
        raise InputError(f"{job.videos}: holds no videos. Give the folder that holds <video_id>.mp4 files.")
    utterances = index_utterances(job.utterances) if job.utterances else None
    videos = [
        RawVideo(
            video_id=video_id,
            path=job.videos.absolute() / name,
            utterances=None
            if utterances is None
            else tuple(path.absolute() for path in utterances.get(video_id, ())),
        )
        for video_id, name in sorted(found.items())
    ]
    return videos, len(set(utterances or ()) - set(found))


def _subjects(job: AnnotateJob, videos: Sequence[RawVideo]) -> dict[str, str] | None:
    if job.subjects is None:
        return None
    if job.utterances:
        raise InputError("--subjects and --utterances both say who is seen: give one of them.")
    usable = []
    for video in videos:
        try:
            check_video_name(video.video_id)
        except ValueError:
            continue  # will be a counted failure
        usable.append(video.video_id)
    return subjects_of(job.subjects, usable)


def _settings(job: AnnotateJob) -> dict[str, object]:
    return {"detector": job.detector, "utterances": job.utterances is not None, **job.config.content()}


def _state(video: RawVideo) -> str:
    """A digest that changes when the video's file, or its utterances' files, are replaced."""
    known: list[tuple[str, int, int]] = []
    files = [(video.path.name, video.path)]
    files += [("/".join(path.parts[-3:]), path) for path in video.utterances or ()]
    for name, path in files:
        try:
            stat = path.stat()
        except OSError:  # a link to nowhere: the task will say so
            known.append((name, -1, -1))
        else:
            known.append((name, stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()
