"""The single-shot detectors of the BlazeFace family: square views of a frame in, boxes and key points out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.annotation.anchors import anchor_centres
from pipelines.annotation.candidates import Candidates, decode, joined, keep_surest, merge_overlapping
from pipelines.annotation.litert import LiteRtModel
from pipelines.annotation.square_view import SquareView, look
from pipelines.media.images import RgbImage


@dataclass(frozen=True, kw_only=True)
class BlazeLayout:
    """What a network's file does not say of itself; the values are MediaPipe's published ones."""

    input_size: int
    """Side of the square input in pixels."""
    grids: tuple[tuple[int, int], ...]
    """(stride in pixels, anchors a cell) of each grid of anchors."""
    min_overlap: float = 0.3
    """Intersection over union from which two candidates are one object."""


FACE_LAYOUT = BlazeLayout(input_size=192, grids=((4, 1),))
POSE_LAYOUT = BlazeLayout(input_size=224, grids=((8, 2), (16, 2), (32, 6)))


class BlazeNetwork:
    """A loaded network and its anchors."""

    def __init__(self, weights: bytes, layout: BlazeLayout) -> None:
        self._model = LiteRtModel(weights)
        self._layout = layout
        self._anchors_A2 = anchor_centres(layout.input_size, layout.grids)

    def __call__(self, frame_HW3: RgbImage, views: Sequence[SquareView], min_score: float) -> Candidates:
        """Each object that scores at least `min_score` in any of the views, its points in pixels of the frame."""
        found = joined([self._in_view(frame_HW3, view, min_score) for view in views])
        # Not averaged: an object that is small or cut off in one view is placed wrongly by it, with confidence.
        return keep_surest(found, self._layout.min_overlap)

    def _in_view(self, frame_HW3: RgbImage, view: SquareView, min_score: float) -> Candidates:
        size = self._layout.input_size
        raw_AC, logits_A1 = self._model(look(frame_HW3, view, size).astype(np.float32) / 127.5 - 1)
        found = decode(raw_AC, logits_A1[:, 0], self._anchors_A2, size, min_score)
        found = merge_overlapping(found, self._layout.min_overlap)
        return Candidates(view.to_frame(found.points), found.scores)
