"""How far a mean over clips may be trusted: percentile bootstrap (Efron and Tibshirani, 1993)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds between which it lies with CONFIDENCE, if other clips of the same kind were drawn."""

    mean: float
    low: float
    high: float

    def shown(self, digits: int, sign: str = "") -> str:
        """The mean and, in brackets, its bounds; with `sign` "+" those above zero are marked, too."""
        mean, low, high = (f"{value:{sign}.{digits}f}" for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


def mean_interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """The mean of one value a clip with its bounds; the same for the same values, in the same order.

    Of a single value the bounds are the value itself: one clip tells nothing of others. ValueError without any, or if
    one is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"an interval needs at least one value, all finite; got {array.tolist()}")
    random = np.random.default_rng(seed)
    # A resample at a time: all at once would be RESAMPLES times as large as the values, of which there may be many.
    means = [array[random.integers(0, len(array), len(array))].mean() for _ in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(array.mean()), float(low), float(high))
