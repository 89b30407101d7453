"""Synthetic videos of bright squares that move over coloured scenes, and a detector that finds them."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.annotation.detections import Detection
from pipelines.media.video import write_video

WIDTH, HEIGHT = 320, 240
BLUE, GREEN, RED = (20, 30, 120), (20, 110, 40), (130, 30, 20)
_BRIGHT = 225

# Left edge, top edge and side of each square, by frame number.
Squares = Callable[[int], Sequence[tuple[int, int, int]]]
Scene = tuple[tuple[int, int, int], int, Squares]
"""Colour of the background, number of frames, the squares."""


def still(*squares: tuple[int, int, int]) -> Squares:
    """Squares that do not move."""
    return lambda number: squares


def write_scenes(
    path: Path, scenes: Sequence[Scene], fps: Fraction | int = 25, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """Write a video of scenes in a row, with a hard cut between any two of them."""
    write_video(path, _frames(scenes, size), fps)
    return path


def _frames(scenes: Sequence[Scene], size: tuple[int, int]):
    for colour, count, squares in scenes:
        for number in range(count):
            frame = np.full((size[1], size[0], 3), colour, np.uint8)
            for left, top, side in squares(number):
                frame[top : top + side, left : left + side] = 255
            yield frame


class BrightSquareDetector:
    """Finds bright squares that share no column; sure of all of them."""

    def __call__(self, frames_NHW3: NDArray[np.uint8]) -> list[list[Detection]]:
        """Detections of each frame, from the left."""
        return [self._find(frame.min(axis=-1) > _BRIGHT) for frame in frames_NHW3]

    def _find(self, bright_HW: NDArray[np.bool_]) -> list[Detection]:
        columns = np.flatnonzero(np.diff(np.concatenate([[0], bright_HW.any(axis=0), [0]]).astype(int)))
        found = []
        for left, right in columns.reshape(-1, 2):
            rows = np.flatnonzero(bright_HW[:, left:right].any(axis=1))
            found.append(Detection(float(left), float(rows[0]), float(right), float(rows[-1] + 1), 0.9))
        return found
