"""Did a decoder hand over exactly the frames asked for? Judged from their timestamps; pure arithmetic.

Seeking is not exact in every container: one lands behind an open group of pictures (H.264 and HEVC in mp4),
one guesses byte positions (MPEG-TS), one loses timestamps after a seek (AVI, MPEG-PS). A file's first frames
give the clip away, so every clip is checked and, if need be, decoded again from further ahead.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pipelines.media.probe import VideoInfo

Outcome = Literal["exact", "late", "gapped", "unreliable"]

# Timestamps jitter by a rounding (1 ms in Matroska is 6 % of a 60 fps frame). Where a container lost them,
# ffmpeg counts from the seek target, which lies half a frame off the grid.
LARGEST_JITTER = Fraction(4, 10)


@dataclass(frozen=True)
class Window:
    """A stretch of the container's time in seconds: begin <= t < end."""

    begin: Fraction
    end: Fraction


def window_of(frames: range, info: VideoInfo) -> Window:
    """When native `frames` are shown, half a frame early at both ends so that rounding cannot matter."""
    half = Fraction(1, 2)
    return Window(
        begin=info.start_s + (frames.start - half) / info.fps,
        end=info.start_s + (frames.stop - half) / info.fps,
    )


def judge_times(times: Sequence[Fraction], frames: range, info: VideoInfo) -> Outcome:
    """Compare the timestamps of decoded frames, in seconds of the container's time, with those of `frames`.

    `late`: the first frame came too late, as after a seek that overshot. `gapped`: it came in time, but fewer
    frames did. `unreliable`: the times cannot be those of a file of constant rate.
    """
    if not times:
        return "late"
    if not info.constant_rate:
        return "exact" if times[0] - info.start_s < (frames.start + 1) / info.fps else "late"
    positions = [(time - info.start_s) * info.fps for time in times]
    indices = [round(position) for position in positions]
    if any(
        abs(position - index) > LARGEST_JITTER for position, index in zip(positions, indices, strict=True)
    ):
        return "unreliable"
    # By length first: the frames wanted may be a billion, those decoded are few.
    if len(indices) == len(frames) and indices == list(frames):
        return "exact"
    if any(later <= earlier for earlier, later in itertools.pairwise(indices)):
        return "unreliable"
    if indices[0] < frames.start:
        return "unreliable"
    return "late" if indices[0] > frames.start else "gapped"
