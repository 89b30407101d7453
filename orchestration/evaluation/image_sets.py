"""Frechet distances of all that a model made from all that it should have made: samples of each clip, their features.

A sample is a frame or, for networks that see movement, some frames in a row.
"""
# N samples, D features, B batch, T frames of a sample, H height, W width

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lia_model import efficientnet
from lia_model.inception import INCEPTION_FEATURES
from lia_model.resnext3d import RESNEXT3D_FEATURES
from orchestration.evaluation.frechet import FeatureMoments, frechet_distance
from orchestration.evaluation.metrics import BASELINE, MODEL

# Not the detectors' NOISE_EVERY, though as large: this one is part of what the distances mean. It is the length of the
# samples of video FID, so that these neither overlap nor leave a gap.
EVERY = 16
"""Of so many frames of a clip the first are a sample: neighbouring frames are alike."""
LENGTHS: Mapping[str, int] = {
    "frechet_efficientnet_lite0": efficientnet.FEATURES,
    "fid": INCEPTION_FEATURES,
    "video_fid": RESNEXT3D_FEATURES,
}
"""D, by metric."""
TRUE = "true_"
"""As MODEL and BASELINE, the prefix of the set that both are compared with."""

Features = Mapping[str, str]
"""By set (prefix and metric), base64 of float32 (N,D): what of a clip goes into the sets, as it is stored."""


@dataclass(frozen=True)
class SetNetwork:
    """What sees the samples of a metric."""

    metric: str
    """Of LENGTHS."""
    see: Callable[[Tensor], Tensor]
    """From a sample in [-1,1] to its features (1,D): an image is (1,3,H,W), of several frames it is (1,T,3,H,W)."""
    frames: int = 1
    """T, at most EVERY."""


class SetMeasure:
    """A Measure that has no score of the clip, but features."""

    def __init__(self, network: SetNetwork, source_13HW: Tensor, *, transfer: bool) -> None:
        self._network = network
        self._still_1D = None if transfer else self._see(source_13HW.expand(network.frames, -1, -1, -1))
        """The baseline's: the source, copied."""
        prefixes = (MODEL, TRUE) if transfer else (MODEL, BASELINE, TRUE)
        self._found: dict[str, list[Tensor]] = {prefix: [] for prefix in prefixes}
        self._sample: list[tuple[Tensor, Tensor]] = []
        self._frames = 0

    def add(self, made_B3HW: Tensor, frames_B3HW: Tensor) -> None:
        """See Measure."""
        for made_3HW, frame_3HW in zip(made_B3HW, frames_B3HW, strict=True):
            if self._frames % EVERY < self._network.frames:
                self._sample.append((made_3HW.clamp(-1, 1), frame_3HW))
            if len(self._sample) == self._network.frames:
                self._count(*(torch.stack(images) for images in zip(*self._sample, strict=True)))
                self._sample.clear()
            self._frames += 1

    def _count(self, made_T3HW: Tensor, frames_T3HW: Tensor) -> None:
        self._found[MODEL].append(self._see(made_T3HW))
        self._found[TRUE].append(self._see(frames_T3HW))
        if self._still_1D is not None:
            self._found[BASELINE].append(self._still_1D)

    def _see(self, sample_T3HW: Tensor) -> Tensor:
        found_1D = self._network.see(sample_T3HW if self._network.frames == 1 else sample_T3HW[None])
        return found_1D.float().cpu()

    def scores(self) -> dict[str, float | None]:
        """See Measure."""
        return {}

    def features(self) -> Features:
        """See Measure; empty sets where the clip is shorter than a sample."""
        return {prefix + self._network.metric: _coded(rows) for prefix, rows in self._found.items()}


class ImageSets:
    """The sets of all clips so far: count, mean and covariance of each, whatever the number of clips."""

    def __init__(self) -> None:
        self._moments: dict[str, FeatureMoments] = {}

    def add(self, features: Features) -> None:
        """Count a clip in. Raises ValueError, TypeError or AttributeError if it is none."""
        decoded = {name: _decoded(coded, _length(name)) for name, coded in features.items()}
        for name, rows_ND in decoded.items():
            self._moments.setdefault(name, FeatureMoments(_length(name))).add(rows_ND)

    def distances(self) -> dict[str, float]:
        """Distances of the model's images and of the baseline's from the true ones, by the metric's name.

        Sets of less than two samples have none. Seconds for each, with thousands of features.
        """
        found = {}
        for name in (prefix + metric for prefix in (MODEL, BASELINE) for metric in LENGTHS):
            made, true = self._moments.get(name), self._moments.get(TRUE + name.removeprefix(BASELINE))
            if made and true and made.count > 1:
                found[name] = frechet_distance(made, true)
        return found


def _coded(rows: list[Tensor]) -> str:
    rows_ND = torch.cat(rows) if rows else torch.empty(0)
    return base64.b64encode(rows_ND.numpy().tobytes()).decode()


def _decoded(coded: str, length: int) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(coded, validate=True), np.float32).reshape(-1, length)


def _length(name: str) -> int:
    """D of a set. Raises ValueError if there is none of that name."""
    for prefix in (TRUE, BASELINE, MODEL):
        if name.startswith(prefix) and (length := LENGTHS.get(name.removeprefix(prefix))):
            return length
    raise ValueError(f"{name!r}: no such set of images")
