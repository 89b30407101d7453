"""What every detector says of a frame."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detection:
    """One face or body in one frame."""

    left: float
    """Pixels of the frame given, from its left edge."""
    top: float
    """Pixels, from its top edge."""
    right: float
    """Pixels, from its left edge."""
    bottom: float
    """Pixels, from its top edge."""
    score: float
    """How sure the detector is, 0 to 1."""


class Detector(Protocol):
    """Finds all faces or bodies in each of N frames on its own."""

    def __call__(self, frames_NHW3: NDArray[np.uint8]) -> list[list[Detection]]: ...
