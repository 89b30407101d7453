"""Faces in frames, as 68 landmarks and an identity, and how far two of them are apart: AKD, AED, CSIM.

All three are of one pair of frames; an evaluation averages them over a clip's frames, then over clips. dlib's networks
stand in for those that papers measured with, so the values rank models that were measured here and nothing else.

Noise floor, frames of VoxCeleb's kind against themselves after JPEG of quality 75: an AKD of 0.28 px at 256 x 256 (95 %
of frames below 0.43), 0.19 at 128, 0.15 at 64; an AED of 0.003, 0.015 and 0.08; a CSIM of 0.999, 0.996 and 0.98. At 64
JPEG alone changes the identity as much as another frame of the same person does. (benchmarks/face_noise.py)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from pipelines.annotation.weights import FACE_IDENTITY, FACE_LANDMARKS, WeightsFile, read_weights
from pipelines.errors import InputError
from pipelines.media.images import RgbImage

# dlib's detector sees faces from 80 px on. Frames are doubled for it until their shorter side has this many pixels.
_MIN_SIDE = 256


@dataclass(frozen=True, eq=False)
class Face:
    """The face in a frame."""

    landmarks: NDArray[np.float64]
    """(68,2), x and y in pixels of the frame, in the order of iBUG 300-W; dlib gives whole pixels."""
    identity: NDArray[np.float64] | None = None
    """(128,), dlib's embedding; None where it was not asked for."""


class FaceObserver:
    """Finds the face in a frame. It holds its networks in native memory and is not for several threads at once."""

    WEIGHTS = (FACE_LANDMARKS, FACE_IDENTITY)
    """The files that it loads, the second for identities alone; `lia fetch` brings them."""

    def __init__(self, weights: Mapping[str, Path], *, identity: bool = True) -> None:
        """`weights` maps the names in WEIGHTS to files; without `identity` the first is enough, and no face has one.

        InputError if one is absent or damaged, or dlib is absent.
        """
        try:
            import dlib
        except ImportError as error:
            raise InputError(
                f"Face metrics need dlib, which is not installed ({error}): pip install 'lia-platform[faces]'"
            ) from error
        self._find_boxes = dlib.get_frontal_face_detector()
        self._find_landmarks = dlib.shape_predictor(_checked_path(FACE_LANDMARKS, weights))
        self._embed = (
            dlib.face_recognition_model_v1(_checked_path(FACE_IDENTITY, weights)) if identity else None
        )

    def __call__(self, frame_HW3: RgbImage, *, identity: bool = True) -> Face | None:
        """The largest face that looks towards the camera; None if there is none.

        Landmarks take some 8 ms at 256 x 256, the identity 60 to 90 more: leave it out with `identity=False` where it
        is not needed, or take it of some frames only (`identity=index % 10 == 0`). Raises ValueError unless the frame
        is uint8 RGB.
        """
        if frame_HW3.dtype != np.uint8 or frame_HW3.ndim != 3 or frame_HW3.shape[2] != 3:
            raise ValueError(
                f"a frame must be uint8 of shape (H,W,3), got {frame_HW3.dtype}{frame_HW3.shape}"
            )
        frame_HW3 = np.ascontiguousarray(frame_HW3)
        boxes = self._find_boxes(frame_HW3, _doublings(min(frame_HW3.shape[:2])))
        if not boxes:
            return None
        shape = self._find_landmarks(frame_HW3, max(boxes, key=lambda box: box.area()))
        landmarks = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
        if not identity or self._embed is None:
            return Face(landmarks)
        return Face(landmarks, np.array(self._embed.compute_face_descriptor(frame_HW3, shape)))


def _checked_path(file: WeightsFile, paths: Mapping[str, Path]) -> str:
    """The path of a weights file that has just been found whole: dlib loads from nothing else."""
    read_weights(file, paths)
    return str(paths[file.name])


def _doublings(side: int) -> int:
    """How often a side of that many pixels, at least one, is doubled to reach _MIN_SIDE."""
    return max(0, math.ceil(math.log2(_MIN_SIDE / side)))


def akd(truth: Face, made: Face) -> float:
    """Average keypoint distance: mean |difference| over x and y of the 68 landmarks, in pixels of the frame.

    Source: FOMM (Siarohin et al., 2019); LIA (2022) and others give it for VoxCeleb, at 256 x 256. Theirs are the 68
    landmarks of another network, face-alignment (Bulat and Tzimiropoulos, 2017), which also sees profiles.
    """
    return float(np.abs(made.landmarks - truth.landmarks).mean())


def aed(truth: Face, made: Face) -> float:
    """Average Euclidean distance, squared in spite of its name: squared L2 of the identities, 0 or more, no unit.

    Source: FOMM (Siarohin et al., 2019), with the embedding of OpenFace (Amos et al., 2016), whose length is 1: theirs
    is from 0 to 4. dlib's has a length of 1.3 to 1.6, and 0.36 parts one person from two: frames of one clip had 0.03
    to 0.17, different persons 0.48 to 1.06. Raises ValueError if an identity was not observed.
    """
    true, found = _identities(truth, made)
    return float(np.square(found - true).sum())


def csim(truth: Face, made: Face) -> float:
    """Cosine similarity of the identities, from -1 to 1, higher for one person, no unit.

    Source: Zakharov et al., "Few-Shot Adversarial Learning of Realistic Neural Talking Head Models" (2019), with the
    embedding of ArcFace, in which different persons have about 0. In dlib's they had 0.76 to 0.90, and frames of one
    clip 0.96 to 0.99: a high value here is not one there. Raises ValueError if an identity was not observed.
    """
    true, found = _identities(truth, made)
    return float(found @ true / (np.linalg.norm(found) * np.linalg.norm(true)))


def _identities(truth: Face, made: Face) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if truth.identity is None or made.identity is None:
        raise ValueError("AED and CSIM compare identities: observe both frames with identity=True")
    return truth.identity, made.identity


def normalised(landmarks_L2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Landmarks about their mean, in units of the square root of their convex hull's area: (L,2).

    Place and size in the frame are gone; pose, expression and the face's own shape are left.
    """
    area = ConvexHull(landmarks_L2).volume  # scipy's name for it, whatever the dimension
    return np.asarray((landmarks_L2 - landmarks_L2.mean(axis=0)) / np.sqrt(area), dtype=np.float64)


def best_frame(source: Face, driving: Sequence[Face | None]) -> int:
    """Index of the driving frame whose normalised landmarks are nearest the source's in squared distance.

    Frames without a face (None) are passed over; of equally near ones the first is taken. Raises InputError if no
    frame has a face. Source: relative animation as FOMM describes it, which begins from the most similar pose.
    """
    target = normalised(source.landmarks)
    distances = {
        index: float(np.square(normalised(face.landmarks) - target).sum())
        for index, face in enumerate(driving)
        if face is not None
    }
    if not distances:
        raise InputError(
            f"the driving video shows no face that could be found in any of its {len(driving)} frames, so none is "
            "nearest the source's. Use another video, or begin with its first frame."
        )
    return min(distances, key=distances.__getitem__)
