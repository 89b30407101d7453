"""One pass over one video: decode, find the cuts, have people detected, join them to tracks.

Frames go to the detector in batches, and the next batch is decoded while the detector is busy with the last one;
two batches are in memory at a time, whatever the length of the video.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.detections import Detection
from pipelines.annotation.frame_numbers import FrameNumbers
from pipelines.annotation.regions import Region, region_of
from pipelines.annotation.shots import ShotDetector
from pipelines.annotation.tracks import Track, Tracker
from pipelines.annotation.utterances import Utterance, speaker
from pipelines.errors import VideoError
from pipelines.media.images import RgbImage
from pipelines.media.video import TimedFrame, decode_timed, read_info

# N frames; H, W height and width in pixels; 3: red, green, blue
Detections = list[list[Detection]]
Submit = Callable[[NDArray[np.uint8]], Callable[[], Detections]]
"""Hands frames (N,H,W,3) to a detector; the function that it returns waits for the detections."""
Progress = Callable[[int], None]
"""Told now and then how many more frames were decoded."""

# A batch also ends here, so that stretches in which nobody is looked for are reported too.
MOST_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a pass over a video gave."""

    size: tuple[int, int]
    """Width and height in pixels of the frames that the tracks are in."""
    fps: Fraction
    frames: int
    """Frames decoded."""
    shots: int
    """Stretches without a cut."""
    tracks: list[tuple[str, Track]]
    """Each with whom it shows, where utterances say so (else empty)."""


def watch(
    path: Path,
    config: AnnotateConfig,
    utterances: Sequence[Utterance] | None,
    submit: Submit,
    progress: Progress,
) -> Seen:
    """Track everybody in a video, or only the people of its `utterances`; raises as `decode_frames` does."""
    viewing = _Viewing(path, config, utterances)
    waiting: tuple[_Batch, Callable[[], Detections]] | None = None
    for batch in viewing.batches(_frames(path, config.frame_px)):
        asked = batch, submit(np.stack(batch.looked)) if batch.looked else list
        batch.looked.clear()
        progress(len(batch.steps))
        if waiting:
            viewing.follow(waiting[0], waiting[1]())
        waiting = asked
    if waiting:
        viewing.follow(waiting[0], waiting[1]())
    return viewing.finish()


def _frames(path: Path, longer_side: int) -> Iterator[TimedFrame]:
    with _fault_of(path):
        yield from decode_timed(path, longer_side)


@contextmanager
def _fault_of(path: Path) -> Iterator[None]:
    """Whatever decoding a file brings about is that file's failure, and not the end of the run."""
    try:
        yield
    except VideoError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise VideoError("unreadable", f"{path}: cannot be decoded ({what}). Re-encode it.") from error


@dataclass(frozen=True)
class _Step:
    """One frame on its way to the trackers."""

    number: int
    cut: bool
    """Whether a new shot begins here."""
    repeats: bool
    """Whether the frame before has the same number: then only the cut counts."""
    due: bool
    """Whether this is one of the frames that people are looked for in."""
    place: int | None
    """Where it is among the frames that the detector is given, if it is."""


@dataclass
class _Batch:
    """Frames decoded in a row, and the pictures of those looked at."""

    steps: list[_Step] = field(default_factory=list)
    looked: list[RgbImage] = field(default_factory=list)


@dataclass
class _Follower:
    """Tracks of everybody, or of the person of one utterance."""

    tracker: Tracker
    utterance: Utterance | None
    tracks: list[Track] = field(default_factory=list)

    def cares(self, number: int, fps: Fraction) -> bool:
        """Whether anybody in this frame could be followed."""
        return self.utterance is None or self.utterance.covers(number, fps)

    def step(self, number: int, regions: list[Region] | None, fps: Fraction, size: tuple[int, int]) -> None:
        """Take in a frame's boxes (None: nobody looked)."""
        if regions and self.utterance is not None:
            annotated = self.utterance.region_at(number, fps, size)
            found = speaker(regions, annotated) if annotated else None
            regions = [found] if found else []
        self.tracks += self.tracker.step(number, regions)


class _Viewing:
    def __init__(self, path: Path, config: AnnotateConfig, utterances: Sequence[Utterance] | None) -> None:
        self._config = config
        with _fault_of(path):
            self._info = read_info(path)
        self._numbers = FrameNumbers(self._info, str(path))
        self._shots = ShotDetector(config.cut_threshold)
        self._size = self._seen_size = (self._info.width, self._info.height)
        self._frames = self._cuts = self._since_look = 0
        people = [None] if utterances is None else utterances
        self._followers = [_Follower(Tracker(config), utterance) for utterance in people]

    def batches(self, frames: Iterable[TimedFrame]) -> Iterator[_Batch]:
        batch = _Batch()
        for frame in frames:
            self._add(batch, frame)
            if len(batch.looked) == self._config.batch or len(batch.steps) >= MOST_STEPS:
                yield batch
                batch = _Batch()
        yield batch

    def follow(self, batch: _Batch, detections: Detections) -> None:
        scale = (self._size[0] / self._seen_size[0], self._size[1] / self._seen_size[1])
        for step in batch.steps:
            found = detections[step.place] if step.place is not None else []
            regions = [region_of(one, *scale) for one in found]
            for follower in self._followers:
                if step.cut:
                    follower.tracks += follower.tracker.cut(step.number)
                if not step.repeats:
                    follower.step(step.number, regions if step.due else None, self._info.fps, self._size)

    def finish(self) -> Seen:
        for follower in self._followers:
            follower.tracks += follower.tracker.finish()
        return Seen(
            size=self._size,
            fps=self._info.fps,
            frames=self._frames,
            shots=self._cuts + 1,
            tracks=[
                (follower.utterance.person if follower.utterance else "", track)
                for follower in self._followers
                for track in follower.tracks
            ],
        )

    def _add(self, batch: _Batch, frame: TimedFrame) -> None:
        self._frames += 1
        self._size = frame.size
        self._seen_size = frame.image.shape[1], frame.image.shape[0]
        cut = self._shots.begins_shot(frame.image)
        self._cuts += cut
        self._since_look = 0 if cut else self._since_look
        number = self._numbers.next(frame.time_s)
        if number is None:
            batch.steps.append(_Step(self._numbers.last, cut, repeats=True, due=False, place=None))
            return
        due = self._since_look == 0
        self._since_look = (self._since_look + 1) % self._config.detect_every
        looked = due and any(follower.cares(number, self._info.fps) for follower in self._followers)
        batch.steps.append(
            _Step(number, cut, repeats=False, due=due, place=len(batch.looked) if looked else None)
        )
        if looked:
            batch.looked.append(frame.image)
