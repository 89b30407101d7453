"""Boxes with edges anywhere: overlap, union, interpolation. Pure arithmetic."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.annotation.detections import Detection


@dataclass(frozen=True, order=True)
class Region:
    """A box in pixels of the video; edges may lie between pixels and outside the frame."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels down."""
        return self.bottom - self.top

    @property
    def centre(self) -> tuple[float, float]:
        """x and y."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies inside."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom


def region_of(detection: Detection, scale_x: float = 1.0, scale_y: float = 1.0) -> Region:
    """A detection's box, carried over from the frame that the detector saw to the video's."""
    return Region(
        detection.left * scale_x,
        detection.top * scale_y,
        detection.right * scale_x,
        detection.bottom * scale_y,
    )


def iou(a: Region, b: Region) -> float:
    """Intersection over union, from 0 to 1."""
    return float(overlap(_corners(a)[None], _corners(b))[0])


def overlap(boxes_N22: NDArray[np.float64], box_22: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union (N,) of boxes given by two corners each; 0 where neither has an area."""
    shared_N2 = np.minimum(boxes_N22[:, 1], box_22[1]) - np.maximum(boxes_N22[:, 0], box_22[0])
    shared_N = np.prod(np.maximum(shared_N2, 0), axis=-1)
    areas_N = np.prod(np.maximum(boxes_N22[:, 1] - boxes_N22[:, 0], 0), axis=-1)
    union_N = areas_N + np.prod(np.maximum(box_22[1] - box_22[0], 0)) - shared_N
    ratio_N: NDArray[np.float64] = np.zeros_like(shared_N)
    np.divide(shared_N, union_N, out=ratio_N, where=union_N > 0)
    return ratio_N


def union(a: Region, b: Region) -> Region:
    """The smallest box that holds both."""
    return Region(min(a.left, b.left), min(a.top, b.top), max(a.right, b.right), max(a.bottom, b.bottom))


def between(a: Region, b: Region, share: float) -> Region:
    """The box on the straight way from `a` (share 0) to `b` (share 1)."""
    return Region(
        *(
            start + share * (end - start)
            for start, end in ((a.left, b.left), (a.top, b.top), (a.right, b.right), (a.bottom, b.bottom))
        )
    )


def _corners(region: Region) -> NDArray[np.float64]:
    return np.array(((region.left, region.top), (region.right, region.bottom)), dtype=float)
