"""Detectors by name, from the weights that `lia fetch` brings."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pipelines.annotation.body import BodyDetector
from pipelines.annotation.detections import Detector
from pipelines.annotation.face import FaceDetector
from pipelines.annotation.weights import (
    FACE_FULL_RANGE,
    POSE_DETECTION,
    POSE_LANDMARK,
    WeightsFile,
    read_weights,
)

DetectorKind = Literal["face", "body"]

_WEIGHTS: dict[DetectorKind, tuple[WeightsFile, ...]] = {
    "face": (FACE_FULL_RANGE,),
    "body": (POSE_DETECTION, POSE_LANDMARK),
}
# At 0.5 the face network holds steadily to house fronts (0.50 to 0.59); real faces seldom score under 0.6.
_MIN_SCORE: dict[DetectorKind, float] = {"face": 0.6, "body": 0.5}


def weights_needed(kind: DetectorKind) -> tuple[str, ...]:
    """Names of the assets that a detector needs."""
    return tuple(file.name for file in _WEIGHTS[kind])


def detector_name(kind: DetectorKind) -> str:
    """The kind and a digest of its weights: another detector would find other boxes."""
    pins = "".join(
        f"{file.name} {file.sha256}\n" for file in sorted(_WEIGHTS[kind], key=lambda file: file.name)
    )
    return f"{kind} {hashlib.sha256(pins.encode()).hexdigest()[:16]}"


def read_networks(kind: DetectorKind, weights: Mapping[str, Path]) -> tuple[bytes, ...]:
    """A detector's networks, for `load_detector`; `weights` maps asset names to files.

    Raises InputError if a file is missing or damaged.
    """
    return tuple(read_weights(file, weights) for file in _WEIGHTS[kind])


def load_detector(
    kind: DetectorKind, networks: Sequence[bytes], *, min_score: float | None = None
) -> Detector:
    """A detector that runs on one CPU core. It holds native memory and is not for several threads at once.

    `networks` are those of `read_networks`. `min_score` from 0 to 1 replaces the detector's own threshold. Raises
    InputError if ai-edge-litert is not installed, ValueError for a `min_score` out of range.
    """
    threshold = _MIN_SCORE[kind] if min_score is None else min_score
    if not 0 <= threshold <= 1:
        raise ValueError(f"min_score must be from 0 to 1, got {min_score}")
    if kind == "face":
        (network,) = networks
        return FaceDetector(network, threshold)
    detection, landmark = networks
    return BodyDetector(detection, landmark, threshold)
