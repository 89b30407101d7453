"""Whole bodies by BlazePose: its detector says where a person stands, its landmark network what belongs to them.

A body's box is that of its silhouette: the pixels that the landmark network's segmentation counts as the person,
hair, clothes, hands and feet included. (The detector's own box is only about as large as a torso, and the 33
landmarks end at the eyebrows and knuckles.)
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.annotation.blaze import POSE_LAYOUT, BlazeNetwork
from pipelines.annotation.candidates import Candidates, as_detections, keep_surest
from pipelines.annotation.detections import Detection
from pipelines.annotation.landmarks import Landmarks, read_landmarks
from pipelines.annotation.litert import LiteRtModel
from pipelines.annotation.square_view import SquareView, letterbox, look, overlapping_squares
from pipelines.media.images import RgbImage

_LANDMARK_INPUT = 256
# Places in a candidate's points: two corners of the detector's box, then its key points.
_HIPS, _REACH = 2, 3
_ROI_MARGIN = 1.25
# Two people rarely fill nearly the same box; two finds of one person always do.
_SAME_PERSON_OVERLAP = 0.6
_VIEW_OVERLAP = 0.5


@dataclass(frozen=True)
class Person:
    """What both networks make of one person in a frame."""

    score: float
    """The product of how sure each network is that there is a person, 0 to 1."""
    view: SquareView
    """The square that the landmark network saw."""
    mask: NDArray[np.bool_]
    """(H,W), which of its pixels are the person's."""
    landmarks: Landmarks


class PersonFinder:
    """Finds the people in a frame and looks at each.

    The detector loses people who are small in its input, so that wide and tall frames are searched once as a
    whole and once in overlapping squares: four looks at a 16:9 frame, one at a square frame.
    """

    def __init__(self, detection: bytes, landmark: bytes, min_score: float) -> None:
        """`min_score` from 0 to 1 is for the product of both networks' certainty that there is a person."""
        self._detection = BlazeNetwork(detection, POSE_LAYOUT)
        self._landmark = LiteRtModel(landmark)
        self._min_score = min_score

    def __call__(self, frame_HW3: RgbImage) -> list[Person]:
        """All who are found, some perhaps twice, as two finds of the detector may be one person."""
        height, width = frame_HW3.shape[:2]
        found = self._detection(frame_HW3, search_views(width, height), self._min_score)
        people = [
            self._look_at(frame_HW3, body_view(points_P2[_HIPS], points_P2[_REACH]), certainty)
            for points_P2, certainty in zip(found.points, found.scores.tolist(), strict=True)
        ]
        return [person for person in people if person.score >= self._min_score]

    def surest(self, frame_HW3: RgbImage) -> Person | None:
        """The one with the highest score; None where no one is found."""
        return max(self(frame_HW3), key=lambda person: person.score, default=None)

    def _look_at(self, frame_HW3: RgbImage, view: SquareView, certainty: float) -> Person:
        pixels = look(frame_HW3, view, _LANDMARK_INPUT).astype(np.float32) / np.float32(255)
        landmarks, presence_1, mask_logits_HW1, *_ = self._landmark(pixels)
        return Person(
            score=certainty * float(presence_1[0]),
            view=view,
            mask=mask_logits_HW1[..., 0] > 0,
            landmarks=read_landmarks(landmarks, view, _LANDMARK_INPUT),
        )


class BodyDetector:
    """A `Detector` of people."""

    def __init__(self, detection: bytes, landmark: bytes, min_score: float) -> None:
        """`min_score` as for `PersonFinder`."""
        self._find = PersonFinder(detection, landmark, min_score)

    def __call__(self, frames_NHW3: NDArray[np.uint8]) -> list[list[Detection]]:
        """The people of each frame, the surest first, boxes cut off at the frame's edges."""
        return [self._bodies(frame_HW3) for frame_HW3 in frames_NHW3]

    def _bodies(self, frame_HW3: RgbImage) -> list[Detection]:
        height, width = frame_HW3.shape[:2]
        boxes, scores = [], []
        for person in self._find(frame_HW3):
            box_22 = silhouette_box(person.mask, person.view, width, height)
            if box_22 is not None:
                boxes.append(box_22)
                scores.append(person.score)
        bodies = Candidates(np.reshape(boxes, (-1, 2, 2)), np.array(scores))
        return as_detections(keep_surest(bodies, _SAME_PERSON_OVERLAP), width, height)


def search_views(width: int, height: int) -> list[SquareView]:
    """Where to look for people in a frame."""
    whole = letterbox(width, height)
    return [whole] if width == height else [whole, *overlapping_squares(width, height, _VIEW_OVERLAP)]


def body_view(hips_2: NDArray[np.float64], reach_2: NDArray[np.float64]) -> SquareView:
    """The square that shows a whole body upright.

    The detector gives the middle of the hips and a point as far above it, along the body, as the body reaches.
    """
    x, y = (reach_2 - hips_2).tolist()
    return SquareView(
        float(hips_2[0]), float(hips_2[1]), 2 * _ROI_MARGIN * math.hypot(x, y), math.atan2(x, -y)
    )


def silhouette_box(
    mask_HW: NDArray[np.bool_], view: SquareView, width: int, height: int
) -> NDArray[np.float64] | None:
    """Left top and right bottom corner, in pixels of the frame, of the view's set pixels that lie in the frame.

    None if there are none. Pixels beyond the frame are the network's guesses and would widen the box.
    """
    size = len(mask_HW)
    centres_P2 = view.to_frame((np.argwhere(mask_HW)[:, ::-1] + 0.5) / size)
    inside_P2 = centres_P2[((centres_P2 >= 0) & (centres_P2 <= (width, height))).all(axis=1)]
    if not len(inside_P2):
        return None
    half_pixel = view.side / size / 2
    return np.stack([inside_P2.min(axis=0) - half_pixel, inside_P2.max(axis=0) + half_pixel])
