"""Two models on the same clips: how their scores differ clip by clip, and whether that is more than chance.

Clips differ from one another far more than models do, so that the intervals of two means overlap where the interval of
the mean difference is clear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestration.evaluation.intervals import LEAST_CLIPS, Interval, mean_interval
from orchestration.evaluation.metrics import METRICS
from orchestration.evaluation.scores import ClipScore, Evaluation
from pipelines.errors import InputError

MISSED_MORE = 0.005
"""A share of frames (joints) in which nothing is found, by which a model may be worse and yet win by those found."""
Verdict = Literal["better", "worse", "undecided"]


class DifferentClipsError(InputError):
    """The evaluations are of different clips; says which."""


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """A model against another on the same clips."""

    clips: int
    """Those that were compared."""
    failed: int = 0
    """Clips that could not be scored for the one, the other or both: they are not compared."""
    measured: Mapping[str, int]
    """By metric, the clips in which both have a score; metrics without any are left out here and below."""
    lost: Mapping[str, int]
    """By metric, the clips in which the old model has a score and the new one has none."""
    gained: Mapping[str, int]
    """By metric, the clips in which the new model has a score and the old one has none."""
    differences: Mapping[str, Interval]
    """By metric: the one's score less the other's, its mean over clips with bounds."""
    means: Mapping[str, tuple[float, float]]
    """By metric: the one's and the other's, over the same clips."""

    def verdict(self, metric: str) -> Verdict:
        """Decided only where the interval lies on one side of zero, of LEAST_CLIPS or more.

        Nor is a model better that has no score in clips in which the other has one, or in whose images faces or joints
        are missed more often: its failures would be left out.
        """
        difference = self.differences[metric]
        if self.measured[metric] < LEAST_CLIPS or difference.low <= 0 <= difference.high:
            return "undecided"
        if (difference.high < 0) != METRICS[metric].lower_is_better:
            return "worse"
        return "undecided" if self.lost[metric] or self.misses_more(metric) else "better"

    def misses_more(self, metric: str) -> bool:
        """Whether the score leaves out more of the new model's frames (joints) than of the old one's."""
        missed = self.differences.get(METRICS[metric].missed)
        return missed is not None and missed.mean > MISSED_MORE

    def partly_measured(self, metric: str) -> bool:
        """Whether the means over each one's own clips are not those that were compared."""
        return bool(self.failed or self.lost[metric] or self.gained[metric])

    @property
    def failures(self) -> str:
        """What `failed` says, for people; empty if nothing failed."""
        return f"{self.failed} failed for one or both and are not compared" if self.failed else ""

    def extent(self, metric: str) -> str:
        """On how many clips a metric was compared, for people."""
        lost, few = self.lost[metric], self.measured[metric] < LEAST_CLIPS
        return (
            f"{self.measured[metric]} clips"
            + (f" ({LEAST_CLIPS} at least can decide)" if few else "")
            + (f" ({lost} more have a score of the other alone)" if lost else "")
            + (f" (worse by {METRICS[METRICS[metric].missed].title})" if self.misses_more(metric) else "")
            + (f" ({self.failures})" if self.failed else "")
        )


def compare_evaluations(new: Evaluation, old: Evaluation) -> PairedComparison:
    """`new` against `old`, on the clips that could be scored for both.

    Raises DifferentClipsError unless both are of the same clips of the same dataset.
    """
    if _compared_on(new) != _compared_on(old):
        raise DifferentClipsError(
            f"different clips ({clip_set(new)}; {clip_set(old)}): evaluate both on one dataset"
        )
    olds = {clip.clip_id: clip for clip in old.clips}
    pairs = [(clip, olds[clip.clip_id]) for clip in new.clips if clip.clip_id in olds]
    both = {name: found for name in METRICS if (found := _both(pairs, name))}
    return PairedComparison(
        clips=len(pairs),
        failed=len(new.failures.keys() | old.failures.keys()),
        measured={name: len(found) for name, found in both.items()},
        lost={name: sum(_lost(*pair, name) for pair in pairs) for name in both},
        gained={name: sum(_lost(old, new, name) for new, old in pairs) for name in both},
        differences={name: mean_interval([a - b for a, b in found]) for name, found in both.items()},
        means={
            name: (_mean([a for a, _ in found]), _mean([b for _, b in found])) for name, found in both.items()
        },
    )


def clip_set(evaluation: Evaluation) -> str:
    """Which clips an evaluation is of, for people."""
    inputs = evaluation.inputs
    protocol = "" if inputs.protocol == "reconstruction" else f", {inputs.protocol} transfer"
    clips = f"{len(evaluation.clips) + len(evaluation.failures)} {inputs.partition} clips"
    return f"{clips} of dataset {inputs.dataset_digest[:12]}{protocol}"


def _both(pairs: Sequence[tuple[ClipScore, ClipScore]], metric: str) -> list[tuple[float, float]]:
    """The scores of the clips in which both have one."""
    values = ((new.values.get(metric), old.values.get(metric)) for new, old in pairs)
    return [(new, old) for new, old in values if new is not None and old is not None]


def _lost(new: ClipScore, old: ClipScore, metric: str) -> bool:
    return new.values.get(metric) is None and old.values.get(metric) is not None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _compared_on(evaluation: Evaluation) -> tuple[str, str, str]:
    inputs = evaluation.inputs
    return inputs.dataset_digest, inputs.protocol, inputs.pairs
