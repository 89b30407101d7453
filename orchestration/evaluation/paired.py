"""Two models on the same clips: how their scores differ clip by clip, and whether that is more than chance.

Clips differ from one another far more than models do, so that the intervals of two means overlap where the interval of
the mean difference is clear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestration.evaluation.intervals import Interval, mean_interval
from orchestration.evaluation.metrics import METRICS
from orchestration.evaluation.scores import ClipScore, Evaluation
from pipelines.errors import InputError

Verdict = Literal["better", "worse", "undecided"]


class DifferentClipsError(InputError):
    """The evaluations are of different clips; says which."""


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """A model against another on the same clips."""

    clips: int
    differences: Mapping[str, Interval]
    """By metric that was measured of both: the one's score less the other's, its mean over clips with bounds."""

    def verdict(self, metric: str) -> Verdict:
        """Decided only where the interval lies on one side of zero; one clip, which has none, decides nothing."""
        difference = self.differences[metric]
        if self.clips < 2 or difference.low <= 0 <= difference.high:
            return "undecided"
        return "better" if (difference.high < 0) == METRICS[metric].lower_is_better else "worse"


def compare_evaluations(new: Evaluation, old: Evaluation) -> PairedComparison:
    """`new` against `old`. Raises DifferentClipsError unless both are of the same clips of the same dataset."""
    if (new.dataset_digest, new.protocol, _names(new)) != (old.dataset_digest, old.protocol, _names(old)):
        raise DifferentClipsError(
            f"different clips ({clip_set(new)}; {clip_set(old)}): evaluate both on one dataset"
        )
    pairs = list(zip(new.clips, old.clips, strict=True))
    differences = {name: _differences(pairs, name) for name in METRICS}
    return PairedComparison(
        clips=len(pairs),
        differences={name: mean_interval(found) for name, found in differences.items() if found},
    )


def clip_set(evaluation: Evaluation) -> str:
    """Which clips an evaluation is of, for people."""
    protocol = "" if evaluation.protocol == "reconstruction" else f", {evaluation.protocol} transfer"
    clips = f"{len(evaluation.clips)} {evaluation.partition} clips"
    return f"{clips} of dataset {evaluation.dataset_digest[:12]}{protocol}"


def _differences(pairs: Sequence[tuple[ClipScore, ClipScore]], metric: str) -> list[float]:
    """Clip by clip, of those in which both have a score."""
    values = ((new.values.get(metric), old.values.get(metric)) for new, old in pairs)
    return [new - old for new, old in values if new is not None and old is not None]


def _names(evaluation: Evaluation) -> list[str]:
    return [clip.clip_id for clip in evaluation.clips]
