"""What is done with one video: look through it, and keep of its tracks what makes a clip. No Ray."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.records import DropReason, Failure, FoundClip, VideoRecord, printable
from pipelines.annotation.squares import crop_square
from pipelines.annotation.tracks import Track
from pipelines.annotation.utterances import read_utterance
from pipelines.annotation.viewing import Progress, Submit, watch
from pipelines.corpus.clip_table import MAX_NUMBER, check_id, clip_id
from pipelines.errors import MetadataError, VideoError


@dataclass(frozen=True, kw_only=True)
class RawVideo:
    """A video to look through."""

    video_id: str
    path: Path
    utterances: tuple[Path, ...] | None = None
    """Its utterance files where only annotated people are wanted; None takes everybody."""


def annotate_video(
    video: RawVideo, config: AnnotateConfig, submit: Submit, progress: Progress
) -> VideoRecord:
    """Look through one video. One that cannot be used gives a record that says why; nothing is raised for it."""
    try:
        check_video_name(video.video_id)
        if (name := printable(video.path.name)) != video.path.name:
            raise ValueError(f"the file name {name} is not UTF-8")
    except ValueError as error:
        return failed(video, "unusable_name", f"{printable(str(video.path))}: {error}. Rename the file.")
    if video.utterances == ():
        message = f"{video.path}: no utterance files name {video.video_id}. Give them, or take the video out."
        return failed(video, "no_utterances", message)
    try:
        utterances = None if video.utterances is None else [read_utterance(path) for path in video.utterances]
        seen = watch(video.path, config, utterances, submit, progress)
    except MetadataError as error:
        return failed(video, "bad_utterance", str(error))
    except VideoError as error:
        return failed(video, error.reason, str(error))
    clips, dropped = choose_clips(seen.tracks, seen.size, config)
    return VideoRecord(
        video_id=video.video_id,
        video_path=video.path.name,
        width=seen.size[0],
        height=seen.size[1],
        fps=float(seen.fps),
        frames=seen.frames,
        shots=seen.shots,
        clips=tuple(clips),
        dropped=dict(sorted(dropped.items())),
    )


def check_video_name(video_id: str) -> None:
    """Refuse a file name from which no clip id can be made (ValueError)."""
    check_id("video_id", video_id)
    check_id("clip_id", clip_id(video_id, 0, MAX_NUMBER))


def failed(video: RawVideo, reason: str, message: str) -> VideoRecord:
    """The record of a video that cannot be used."""
    failure = Failure(reason=reason, message=message)
    return VideoRecord(video_id=video.video_id, video_path=video.path.name, failure=failure)


def choose_clips(
    tracks: Iterable[tuple[str, Track]], size: tuple[int, int], config: AnnotateConfig
) -> tuple[list[FoundClip], Counter[DropReason]]:
    """The clips that tracks (each with its subject) make in frames of `size`, sorted; how many make none, and why."""
    clips: dict[tuple[str, int, int], FoundClip] = {}
    dropped: Counter[DropReason] = Counter()
    for subject, track in sorted(tracks):
        clip = _clip(subject, track, size, config)
        # A clip is named by subject and frames: of two people seen in the very same ones, one gives up its last.
        while isinstance(clip, FoundClip) and (subject, clip.start, clip.end) in clips:
            clip = replace(clip, end=clip.end - 1)
            if clip.end - clip.start < config.min_frames:
                clip = "same_frames"
        if isinstance(clip, FoundClip):
            clips[subject, clip.start, clip.end] = clip
        else:
            dropped[clip] += 1
    return sorted(clips.values()), dropped


def _clip(
    subject: str, track: Track, size: tuple[int, int], config: AnnotateConfig
) -> FoundClip | DropReason:
    if track.end - track.start < config.min_frames:
        return "too_short"
    if max(track.region.width, track.region.height) < config.min_px:
        return "too_small"
    square = crop_square(track.region, size, config)
    if square is None:
        return "outside_frame"
    return FoundClip(subject, track.start, track.end, square.left, square.top, square.right, square.bottom)
