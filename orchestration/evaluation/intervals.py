"""How far a mean over clips may be trusted: the expanded percentile bootstrap.

Resampled means scatter too little, the more so the fewer the values: a resample has the values' own spread, which is
below that of the population, and the normal distribution's tails in place of Student's. The quantiles are therefore
taken further out, so that for normal values the bounds are Student's (Hesterberg 2015, "What teachers should know about
the bootstrap", section 4.3). `python -m benchmarks.interval_levels` shows how often they miss the true mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

RESAMPLES = 4000
CONFIDENCE = 0.95
LEAST_CLIPS = 6
"""Of fewer clips the bounds are too narrow: the benchmark says how often they are wrong."""
_VALUES_AT_ONCE = 1_000_000


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
    # Some resamples at a time: all at once would be RESAMPLES times as large as the values, of which there may be many.
    block = max(1, _VALUES_AT_ONCE // len(array))
    blocks = (min(block, RESAMPLES - start) for start in range(0, RESAMPLES, block))
    means = np.concatenate(
        [array[random.integers(0, len(array), (count, len(array)))].mean(axis=1) for count in blocks]
    )
    tail = expanded_tail(len(array))
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(array.mean()), float(low), float(high))


def expanded_tail(values: int) -> float:
    """The share of resampled means beyond each bound, for the mean of so many values; none of a single value's."""
    if values < 2:
        return 0.0
    quantile = stdtrit(values - 1, 1 - (1 - CONFIDENCE) / 2)
    return float(ndtr(-math.sqrt(values / (values - 1)) * quantile))
