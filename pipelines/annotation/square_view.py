"""A square cut out of a frame at any place, size and angle: what networks with a square input look at.

Coordinates in the view run from 0 to 1 from its left top corner, x before y. It may reach beyond the frame.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.media.images import RgbImage

_CORNERS_42 = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])


@dataclass(frozen=True)
class SquareView:
    """Where the square lies in the frame."""

    centre_x: float
    """Pixels from the frame's left edge."""
    centre_y: float
    """Pixels from the frame's top edge."""
    side: float
    """Length of an edge in pixels of the frame."""
    angle: float = 0.0
    """Radians by which the square is turned clockwise, as seen in the frame."""

    def to_frame(self, points_P2: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (...,2) of the view, in pixels of the frame."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        axes_22 = self.side * np.array([[cos, sin], [-sin, cos]])
        return np.asarray((points_P2 - 0.5) @ axes_22 + (self.centre_x, self.centre_y), dtype=np.float64)


def letterbox(width: int, height: int) -> SquareView:
    """The smallest upright square that shows the whole frame, in its middle."""
    return SquareView(width / 2, height / 2, max(width, height))


def overlapping_squares(width: int, height: int, overlap: float) -> list[SquareView]:
    """Upright squares as wide as the frame's shorter side, evenly along the longer one, which they cover.

    Neighbours share at least the fraction `overlap` (from 0 to below 1) of their width. A square frame has one.
    """
    side, length = sorted((width, height))
    # Rounded first: 0.75 * 4 may come out a hair above 3.
    count = 1 + math.ceil(round((length - side) / (side * (1 - overlap)), 6))
    centres = np.linspace(side / 2, length - side / 2, count).tolist() if count > 1 else [length / 2]
    across = [(centre, height / 2) if width >= height else (width / 2, centre) for centre in centres]
    return [SquareView(x, y, side) for x, y in across]


def look(frame_HW3: RgbImage, view: SquareView, size: int) -> RgbImage:
    """The view's (size,size,3) pixels, black beyond the frame.

    Large views are first averaged down by a whole number and then sampled bilinearly, so that they do not alias.
    Raises ValueError unless the frame is uint8 RGB.
    """
    if frame_HW3.dtype != np.uint8 or frame_HW3.ndim != 3 or frame_HW3.shape[2] != 3:
        raise ValueError(f"a frame must be uint8 of shape (H,W,3), got {frame_HW3.dtype}{frame_HW3.shape}")
    height, width = frame_HW3.shape[:2]
    corners_42 = view.to_frame(_CORNERS_42)
    left, top = np.clip(np.floor(corners_42.min(axis=0)).astype(int), 0, (width, height))
    right, bottom = np.clip(np.ceil(corners_42.max(axis=0)).astype(int), 0, (width, height))
    if left >= right or top >= bottom:
        return np.zeros((size, size, 3), dtype=np.uint8)
    reduction = max(1, int(view.side / size))
    seen = Image.fromarray(np.ascontiguousarray(frame_HW3[top:bottom, left:right])).reduce(reduction)
    # Output pixel (x, y) shows the reduced image at (x, y, 1) times this matrix.
    origin_2, right_2, down_2 = (corners_42[:3] - (left, top)) / reduction
    matrix_32 = np.stack([(right_2 - origin_2) / size, (down_2 - origin_2) / size, origin_2])
    coefficients = tuple(matrix_32.T.ravel().tolist())
    bilinear = Image.Resampling.BILINEAR
    return np.array(seen.transform((size, size), Image.Transform.AFFINE, coefficients, resample=bilinear))
