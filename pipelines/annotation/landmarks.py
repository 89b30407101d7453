"""BlazePose's 33 landmarks of a person: their names, and how the landmark network tells them."""

# L landmarks
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.annotation.litert import sigmoid
from pipelines.annotation.square_view import SquareView

LANDMARKS = (
    "nose", "left eye inner", "left eye", "left eye outer", "right eye inner", "right eye", "right eye outer",
    "left ear", "right ear", "mouth left", "mouth right", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left pinky", "right pinky", "left index", "right index",
    "left thumb", "right thumb", "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
    "left heel", "right heel", "left foot index", "right foot index",
)  # fmt: skip
"""In the network's order, by MediaPipe's names. Left and right are the person's own."""
_VALUES = 5


@dataclass(frozen=True)
class Landmarks:
    """Where a person's landmarks lie; those that cannot be seen are guessed."""

    points: NDArray[np.float64]
    """(L,2), x and y in pixels of the frame; beyond the frame for what lies beyond it."""
    visibility: NDArray[np.float64]
    """(L,), how sure the network is, 0 to 1, that each is in the picture and not hidden."""


def read_landmarks(raw: NDArray[np.float32], view: SquareView, input_size: int) -> Landmarks:
    """Landmarks from the network's first output, a row of numbers, for a view that it saw `input_size` pixels wide.

    Each landmark is x, y and z in pixels of the input, then the logits of its visibility and of its presence
    (that it is in the picture, be it hidden). Rows after the 33rd are MediaPipe's own, for following people.
    """
    raw_LV = raw.reshape(-1, _VALUES)[: len(LANDMARKS)].astype(np.float64)
    return Landmarks(view.to_frame(raw_LV[:, :2] / input_size), sigmoid(raw_LV[:, 3]))
