"""Metrics of `lia evaluate` as objectives: taken in the trial's own process, on the same clips in every trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestration.evaluation.instruments import Instruments
from orchestration.evaluation.metrics import Group
from orchestration.evaluation.scorer import score
from orchestration.evaluation.transfer import TransferPair
from orchestration.models import load_model
from orchestration.sweep.plan import SweepPlan
from pipelines.dataset.pairs import PairDataset
from pipelines.storage.location import parse_location


def mean_scores(
    model: Path, plan: SweepPlan, groups: Sequence[Group], weights: Mapping[str, bytes]
) -> dict[str, float]:
    """Means over frames and then over held-out clips of the model's scores, reconstruction; what none has is absent."""
    generator = load_model(str(model))
    dataset = PairDataset(parse_location(plan.dataset), "test")
    instruments = Instruments(groups, weights, next(generator.parameters()).device)
    found: dict[str, list[float]] = {}
    for clip in clip_numbers(len(dataset), plan.clips):
        row = score(generator, dataset, TransferPair(clip, clip), "reconstruction", instruments)
        for name, value in row.items():
            if isinstance(value, float):
                found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def clip_numbers(count: int, most: int) -> Sequence[int]:
    """Numbers of `most` of `count` clips, spread evenly; all of them for 0."""
    if not most or count <= most:
        return range(count)
    return [number * count // most for number in range(most)]
