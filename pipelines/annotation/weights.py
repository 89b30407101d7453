"""The network files that look at people in frames, each known by its digest; `lia fetch` brings them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import InputError


@dataclass(frozen=True)
class WeightsFile:
    """A .tflite file, or dlib's .dat."""

    name: str
    """Its name in the cache, and that of the asset."""
    sha256: str
    """Of the file."""


FACE_FULL_RANGE = WeightsFile(
    "face_detection_full_range.tflite", "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3"
)
POSE_DETECTION = WeightsFile(
    "pose_detection.tflite", "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"
)
POSE_LANDMARK = WeightsFile(
    "pose_landmark_full.tflite", "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
)
FACE_LANDMARKS = WeightsFile(
    "shape_predictor_68_face_landmarks.dat",
    "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
)
FACE_IDENTITY = WeightsFile(
    "dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)


def read_weights(file: WeightsFile, paths: Mapping[str, Path]) -> bytes:
    """The bytes of a weights file, if they are the pinned ones; raises InputError.

    Nothing but the pinned bytes reaches the parser, which is native code.
    """
    remedy = f"`lia fetch {file.name}` brings it."
    if file.name not in paths:
        raise InputError(f"{file.name}: this weights file is needed, and was not given. {remedy}")
    path = paths[file.name]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the weights cannot be read: {error.strerror}. {remedy}") from error
    if (found := hashlib.sha256(data).hexdigest()) != file.sha256:
        raise InputError(
            f"{path}: the weights are damaged or of another release: sha256 {found}, expected {file.sha256}. "
            f"Remove the file; {remedy}"
        )
    return data
