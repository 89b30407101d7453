"""How a clip's scores come about, batch by batch: from pixels, or from what a detector sees in the frames."""
# B batch, H height, W width

import io
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from lia_model.feature_distance import FeatureDistance
from lia_model.layout import channels_last
from lia_model.pixels import to_uint8
from orchestration.evaluation.image_sets import Features
from orchestration.evaluation.metrics import BASELINE, MODEL, NOISE
from pipelines.media.images import RgbImage

# Not EVERY of sets of images: how often the noise is looked at is a matter of time alone.
NOISE_EVERY = 16
"""Of so many frames one is looked at a second time, as a JPEG, for the detector's own noise."""
NOISE_JPEG_QUALITY = 75
FEATURES_AT_ONCE = 4
"""Images in a network: features of many take more memory, and on a CPU more time."""

Seen = TypeVar("Seen")
ImageMetric = Callable[[Tensor, Tensor], Tensor]
"""Two batches (B,3,H,W) in [-1,1] to a number an image (B,)."""
Amounts = Mapping[str, tuple[float, float]]
"""By metric, a sum and the weight it was summed over: their quotient is the mean."""


class Measure(Protocol):
    """Takes the frames of one clip, in order."""

    def add(self, made_B3HW: Tensor, frames_B3HW: Tensor) -> None:
        """Frames as the model made them, and those that it was driven by; both in [-1,1]."""

    def scores(self) -> dict[str, float | None]:
        """Means over the frames, by name; None where none could be measured."""

    def features(self) -> Features:
        """What the clip adds to sets of images."""


class _Means:
    """Sums over frames, and their quotients."""

    def __init__(self) -> None:
        self._amounts: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def _count(self, prefix: str, amounts: Amounts) -> None:
        for name, (amount, weight) in amounts.items():
            sums = self._amounts[prefix + name]
            sums[0] += amount
            sums[1] += weight

    def scores(self) -> dict[str, float | None]:
        """See Measure."""
        return {name: amount / weight if weight else None for name, (amount, weight) in self._amounts.items()}

    def features(self) -> Features:
        """See Measure: nothing."""
        return {}


class ImageMeasure(_Means):
    """Compares each made frame with the true one; the baseline compares the source with it."""

    def __init__(self, metrics: Mapping[str, ImageMetric], source_13HW: Tensor) -> None:
        super().__init__()
        self._metrics, self._source_13HW = metrics, source_13HW

    def add(self, made_B3HW: Tensor, frames_B3HW: Tensor) -> None:
        """See Measure."""
        for prefix, image_B3HW in ((MODEL, made_B3HW), (BASELINE, self._source_13HW.expand_as(frames_B3HW))):
            for name, metric in self._metrics.items():
                total = float(metric(image_B3HW, frames_B3HW).double().sum())
                self._count(prefix, {name: (total, len(frames_B3HW))})


class FeatureMeasure(_Means):
    """As ImageMeasure, by the features of a network, which sees each image once."""

    def __init__(self, name: str, distance: FeatureDistance, source_13HW: Tensor) -> None:
        super().__init__()
        self._name, self._distance = name, distance
        self._source = distance.features(channels_last(source_13HW))

    def add(self, made_B3HW: Tensor, frames_B3HW: Tensor) -> None:
        """See Measure."""
        images = (channels_last(made_B3HW.clamp(-1, 1)), channels_last(frames_B3HW))
        for made, frames in zip(*(image.split(FEATURES_AT_ONCE) for image in images), strict=True):
            true = self._distance.features(frames)
            for prefix, features in ((MODEL, self._distance.features(made)), (BASELINE, self._source)):
                total = float(self._distance.between(features, true).double().sum())
                self._count(prefix, {self._name: (total, len(frames))})


class SeenMeasure(_Means, Generic[Seen]):
    """Compares what a detector sees.

    In a reconstruction, each made frame with the true one; the baseline compares the source with it. In transfer there
    is no true frame: what is made is compared with the source; the baseline compares the driving frame with it.
    """

    def __init__(
        self,
        look: Callable[[RgbImage], Seen | None],
        differences: Callable[[Seen | None, Seen | None], Amounts],
        source_13HW: Tensor,
        *,
        transfer: bool,
    ) -> None:
        """`differences` compares what is to be seen with what is seen instead; every metric's name is in it."""
        super().__init__()
        self._look, self._differences, self._transfer = look, differences, transfer
        self._source = look(to_uint8(source_13HW[0]))
        self._frames = 0

    def add(self, made_B3HW: Tensor, frames_B3HW: Tensor) -> None:
        """See Measure."""
        for made_HW3, frame_HW3 in zip(to_uint8(made_B3HW), to_uint8(frames_B3HW), strict=True):
            made, frame = self._look(made_HW3), self._look(frame_HW3)
            wanted, baseline = (self._source, frame) if self._transfer else (frame, self._source)
            self._count(MODEL, self._differences(wanted, made))
            self._count(BASELINE, self._differences(wanted, baseline))
            if self._frames % NOISE_EVERY == 0:
                self._count(NOISE, self._differences(frame, self._look(as_jpeg(frame_HW3))))
            self._frames += 1


def as_jpeg(image_HW3: RgbImage) -> RgbImage:
    """The image after compression that nobody would call visible."""
    file = io.BytesIO()
    Image.fromarray(image_HW3).save(file, "JPEG", quality=NOISE_JPEG_QUALITY)
    return np.asarray(Image.open(file))
