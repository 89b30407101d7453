"""Frechet distance of all that a model made from all that it should have made: some frames a clip, their features."""
# N frames, D features

import base64
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lia_model.efficientnet import FEATURES, EfficientNetLite0Features
from orchestration.evaluation.frechet import FeatureMoments, frechet_distance
from orchestration.evaluation.metrics import BASELINE, MODEL

NAME = "frechet_efficientnet_lite0"
EVERY = 16
"""Of so many frames of a clip one is in the sets: neighbours are alike."""
TRUE = "true"

Features = Mapping[str, str]
"""By set (MODEL, BASELINE, TRUE), base64 of float32 (N,D): what of a clip goes into the sets, as it is stored."""


class SetMeasure:
    """Takes the frames of one clip, in order, as a Measure does; `features` at the end."""

    def __init__(self, network: EfficientNetLite0Features, source_13HW: Tensor, *, transfer: bool) -> None:
        self._network = network
        self._source_1D = None if transfer else network(source_13HW)
        self._found: dict[str, list[Tensor]] = {
            name: [] for name in ((MODEL, TRUE) if transfer else (MODEL, BASELINE, TRUE))
        }
        self._frames = 0

    def add(self, made_B3HW: Tensor, frames_B3HW: Tensor) -> None:
        """See Measure."""
        for made_3HW, frame_3HW in zip(made_B3HW, frames_B3HW, strict=True):
            if self._frames % EVERY == 0:
                self._found[MODEL].append(self._network(made_3HW[None].clamp(-1, 1)))
                self._found[TRUE].append(self._network(frame_3HW[None]))
                if self._source_1D is not None:
                    self._found[BASELINE].append(self._source_1D)
            self._frames += 1

    def features(self) -> Features:
        """What the clip adds to each set."""
        found = {name: torch.cat(rows).float().cpu().numpy() for name, rows in self._found.items()}
        return {name: base64.b64encode(rows_ND.tobytes()).decode() for name, rows_ND in found.items()}


class ImageSets:
    """The sets of all clips so far: count, mean and covariance of each, whatever the number of clips."""

    def __init__(self) -> None:
        self._moments: dict[str, FeatureMoments] = {}

    def add(self, features: Features) -> None:
        """Count a clip in. Raises ValueError, TypeError or AttributeError if it is none."""
        decoded = {name: _decoded(coded) for name, coded in features.items()}
        for name, rows_ND in decoded.items():
            if name not in (MODEL, BASELINE, TRUE):
                raise ValueError(f"{name!r}: no such set of images")
            self._moments.setdefault(name, FeatureMoments()).add(rows_ND)

    def distances(self) -> dict[str, float]:
        """Distances of the model's images and of the baseline's from the true ones, by the metric's name."""
        true = self._moments.get(TRUE)
        if true is None or true.count < 2:
            return {}
        sets = {prefix: self._moments.get(prefix) for prefix in (MODEL, BASELINE)}
        return {prefix + NAME: frechet_distance(found, true) for prefix, found in sets.items() if found}


def _decoded(coded: str) -> NDArray[np.float32]:
    rows = np.frombuffer(base64.b64decode(coded, validate=True), np.float32)
    return rows.reshape(-1, FEATURES)
