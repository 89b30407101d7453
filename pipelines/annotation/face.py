"""Faces by BlazeFace, full range.

It sees the frame 192 pixels wide or high: a face is found from about 6 % of the frame's longer side up.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.annotation.blaze import FACE_LAYOUT, BlazeNetwork
from pipelines.annotation.candidates import as_detections
from pipelines.annotation.detections import Detection
from pipelines.annotation.square_view import letterbox
from pipelines.media.images import RgbImage


class FaceDetector:
    """A `Detector` of faces. A box reaches from the middle of the forehead to the chin and from ear to ear."""

    def __init__(self, weights: bytes, min_score: float) -> None:
        """`min_score` from 0 to 1: how sure the network must be."""
        self._network = BlazeNetwork(weights, FACE_LAYOUT)
        self._min_score = min_score

    def __call__(self, frames_NHW3: NDArray[np.uint8]) -> list[list[Detection]]:
        """The faces of each frame, the surest first, boxes cut off at the frame's edges."""
        return [self._faces(frame_HW3) for frame_HW3 in frames_NHW3]

    def _faces(self, frame_HW3: RgbImage) -> list[Detection]:
        height, width = frame_HW3.shape[:2]
        found = self._network(frame_HW3, [letterbox(width, height)], self._min_score)
        return as_detections(found, width, height)
