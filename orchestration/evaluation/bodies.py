"""How well a generated body keeps the pose of the real one: AKD and MKR of BlazePose's joints.

Source: both came with Monkey-Net (Siarohin et al., CVPR 2019) and are what MRAA (2021) and TPSMM (2022) report on
TaichiHD. Those papers take the 18 joints of OpenPose (Cao et al., 2017). Its weights are for academic use alone, so
that here the joints are BlazePose's (Apache-2.0): numbers can be compared with each other, not with the papers'.
OpenPose looks for each joint by itself; BlazePose fits a whole body and guesses what it does not see.

Of BlazePose's 33 landmarks the 17 joints of COCO count: OpenPose's 18 without the neck, which is no joint of its own
but the middle between the shoulders. The other 16 (corners of eyes and mouth, fingers, heels, toes) are left out:
they crowd around the face, wrists and ankles, which would weigh more in the mean than they do in the papers.
"""

# J joints; 2: x, y
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.annotation.body import PersonFinder
from pipelines.annotation.landmarks import LANDMARKS, Landmarks
from pipelines.media.images import RgbImage

JOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
"""In COCO's order. Left and right are the person's own."""
MIN_SCORE = 0.5
"""How sure both networks together must be that there is a body at all, 0 to 1."""
MIN_VISIBILITY = 0.8
"""From which visibility a joint is present.

MediaPipe's 0.5 is too mild: BlazePose guesses where a lost limb would be. Of the elbows and wrists painted over in 99
real frames of 256 pixels, 26 % are missing at 0.5, 53 % at 0.8 and 78 % at 0.9; of all joints, JPEG of quality 75
alone makes 0, 0.3 and 0.7 % miss.
"""
_PLACES = [LANDMARKS.index(name) for name in JOINTS]


@dataclass(frozen=True)
class Body:
    """The joints of one person."""

    joints: NDArray[np.float64]
    """(J,2), x and y in pixels of the frame; a guess where the joint is not present."""
    present: NDArray[np.bool_]
    """(J,), which joints can be seen in the frame."""


@dataclass(frozen=True)
class JointCounts:
    """Of one frame. MKR is the quotient of the sums over frames: missing over present, 0 to 1."""

    present: int
    """Joints present in the truth."""
    missing: int
    """Those of them that are not present in the generated frame."""


class BodyObserver:
    """Finds the body in a frame, on one CPU core. It holds native memory and is not for several threads at once."""

    def __init__(self, networks: Sequence[bytes]) -> None:
        """`networks` are those of `read_networks("body", ...)`. InputError if ai-edge-litert is not installed."""
        detection, landmark = networks
        self._find = PersonFinder(detection, landmark, MIN_SCORE)

    def __call__(self, frame_HW3: RgbImage) -> Body | None:
        """The surest body of an RGB frame, found without regard to frames before; None where there is none."""
        person = self._find.surest(frame_HW3)
        height, width = frame_HW3.shape[:2]
        return None if person is None else body_of(person.landmarks, width, height)


def body_of(landmarks: Landmarks, width: int, height: int) -> Body:
    """The joints among a person's landmarks, present where they are visible and in a frame of that size."""
    joints_J2 = landmarks.points[_PLACES]
    inside_J = ((joints_J2 >= 0) & (joints_J2 <= (width, height))).all(axis=1)
    return Body(joints_J2, inside_J & (landmarks.visibility[_PLACES] >= MIN_VISIBILITY))


def akd(truth: Body | None, made: Body | None) -> float | None:
    """Average keypoint distance in pixels, of two frames of one size.

    The mean absolute difference of x and of y over joints present in both. None where there is no such joint: the
    frame counts in MKR alone.
    """
    if truth is None or made is None:
        return None
    shared_J = truth.present & made.present
    return float(np.abs(truth.joints - made.joints)[shared_J].mean()) if shared_J.any() else None


def count_joints(truth: Body | None, made: Body | None) -> JointCounts:
    """What MKR is the ratio of. A generated frame without a body misses every joint that the truth shows."""
    if truth is None:
        return JointCounts(present=0, missing=0)
    missing_J = truth.present if made is None else truth.present & ~made.present
    return JointCounts(present=int(truth.present.sum()), missing=int(missing_J.sum()))
