"""How often an interval that claims 95 % misses the true mean, by the number of clips and how they are distributed.

    python -m benchmarks.interval_levels [--draws 2000] [--seed 0]

Sides: the percentile bootstrap as it is usually written, ours (`orchestration.evaluation.intervals`), and Student's t.
Prints JSON, a line a case: the share of draws whose interval lies to one side of the mean; 0.05 is what is claimed.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from orchestration.evaluation.intervals import CONFIDENCE, RESAMPLES, mean_interval

CLIPS = (4, 6, 9, 20, 100)
TAIL = (1 - CONFIDENCE) / 2
Values = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=2000, help="samples a case")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    distributions: dict[str, Callable[[int], Values]] = {
        "normal": random.standard_normal,
        "skewed": lambda size: random.exponential(size=size) - 1,
    }
    for clips in CLIPS:
        for name, draw in distributions.items():
            missed = {"percentile": 0, "ours": 0, "student": 0}
            for _ in range(options.draws):
                values = draw(clips)
                for side, (low, high) in intervals(values, random).items():
                    missed[side] += not low <= 0 <= high
            shares = {side: round(count / options.draws, 4) for side, count in missed.items()}
            print(json.dumps({"clips": clips, "values": name, **shares}), flush=True)


def intervals(values: Values, random: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The bounds of each side, of one sample."""
    count = len(values)
    means = values[random.integers(0, count, (RESAMPLES, count))].mean(axis=1)
    low, high = np.quantile(means, (TAIL, 1 - TAIL))
    ours = mean_interval(values.tolist(), seed=int(random.integers(2**31)))
    half = stdtrit(count - 1, 1 - TAIL) * values.std(ddof=1) / np.sqrt(count)
    return {
        "percentile": (float(low), float(high)),
        "ours": (ours.low, ours.high),
        "student": (float(values.mean() - half), float(values.mean() + half)),
    }


if __name__ == "__main__":
    main()
