"""What the clips of a published dataset were cut from: boxes in the videos' own pixels, frame sizes and rates.

The manifest knows boxes in the metadata's pixels only; each clip's json member says what was really cropped.
"""

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.corpus.clip_table import MAX_FPS
from pipelines.dataset.clip_index import parse_rate
from pipelines.dataset.pairs import PairDataset

# A clip's json costs about 50 us from the page cache and a seek from a disk; so many describe any dataset well.
MOST_READ = 30_000
_MAX_SIDE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class ClipSources:
    """One entry of each array a clip."""

    box_width: NDArray[np.float64]
    """Columns cropped, in pixels of the video."""
    box_height: NDArray[np.float64]
    video_width: NDArray[np.float64]
    video_height: NDArray[np.float64]
    fps: NDArray[np.float64]
    """Frames a second of the video, and so of the clip."""
    stated_fps: NDArray[np.float64]
    """Frames a second by the metadata."""
    stated_aspect: NDArray[np.float64]
    """Width over height of the frames that the metadata's boxes were drawn in."""

    @property
    def aspect(self) -> NDArray[np.float64]:
        """Width over height of the box."""
        return self.box_width / self.box_height

    @property
    def reshaping(self) -> NDArray[np.float64]:
        """How many times wider, for their height, the videos are than the metadata says; 1 where nothing changed."""
        return np.asarray(self.video_width / self.video_height / self.stated_aspect)

    def __len__(self) -> int:
        return len(self.fps)

    def enlargement(self, size: int) -> NDArray[np.float64]:
        """How many times a side was enlarged to `size` pixels (mean of both axes); below 1 it was reduced."""
        return np.asarray(size / np.sqrt(self.box_width * self.box_height))


COLUMNS = tuple(field.name for field in fields(ClipSources))


def no_sources() -> ClipSources:
    """The sources of a partition without clips."""
    return ClipSources(**{name: np.empty(0) for name in COLUMNS})


def read_sources(dataset: PairDataset, most: int = MOST_READ) -> ClipSources:
    """The sources of a partition's clips, or of `most` of them at equal distances.

    Raises DatasetError where a shard or a clip's json is not what the manifest says.
    """
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), most)).astype(np.int64))
    rows = []
    for clip in chosen.tolist():
        try:
            rows.append(parse_source(dataset.description(clip)))
        except ValueError as error:
            raise dataset.damaged(clip, str(error)) from error
    columns = np.array(rows, dtype=np.float64).T
    return ClipSources(**dict(zip(COLUMNS, columns, strict=True)))


def parse_source(data: bytes) -> tuple[float, ...]:
    """The fields of ClipSources from a clip's json member; ValueError says what is wrong with it."""
    try:
        record = json.loads(data)
        left, top, right, bottom = (_side(edge) for edge in record["box_used"])
        width, height = _side(record["video_width"]), _side(record["video_height"])
        rate = parse_rate(record["video_fps"])
        stated = float(record["fps"])
        stated_aspect = _side(record["ref_width"]) / _side(record["ref_height"])
    except (ValueError, KeyError, TypeError, OverflowError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"its json member is damaged ({type(error).__name__}: {error})") from error
    if not 0 < rate <= MAX_FPS:
        raise ValueError(f"video_fps = {record['video_fps']!r} is no frame rate")
    if not 0 < stated <= MAX_FPS:
        raise ValueError(f"fps = {stated} is no frame rate")
    if not (left < right <= width and top < bottom <= height):
        raise ValueError(f"box {left}-{top}-{right}-{bottom} is none in a frame of {width}x{height}")
    if not stated_aspect:
        raise ValueError("ref_width = 0 is no width of a frame")
    return right - left, bottom - top, width, height, float(rate), stated, stated_aspect


def _side(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_SIDE:
        raise ValueError(f"{value!r} is no number of pixels")
    return value
