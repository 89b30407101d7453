"""Metrics of `lia evaluate` as objectives: taken in the trial's own process, on the same clips in every trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from lia_model.pixels import to_float
from orchestration.evaluation.instruments import METRICS_OF, Instruments, read_weights
from orchestration.evaluation.metrics import MODEL, Group
from orchestration.evaluation.scorer import score
from orchestration.evaluation.transfer import TransferPair
from orchestration.models import load_model
from orchestration.sweep.plan import SweepPlan
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import InputError
from pipelines.storage.location import parse_location

DETECTED: Sequence[Group] = ("face", "body")
"""What is compared only where a detector finds it."""
FRAMES_LOOKED_AT = 4
"""Of a clip, to see whether a detector finds something in it."""


def require_detected(plan: SweepPlan, groups: Sequence[Group]) -> None:
    """Raise InputError where no frame of the held-out clips shows what an objective compares.

    Looks at some frames of one clip after another, until one does.
    """
    dataset = PairDataset(parse_location(plan.dataset), "test")
    for group in (group for group in DETECTED if group in groups):
        clips = clip_numbers(len(dataset), plan.clips)
        instruments = Instruments([group], read_weights([group]))
        if not any(_detected(dataset, clip, instruments, group) for clip in clips):
            wanted = " ".join(name for name in plan.objectives if name in METRICS_OF[group])
            raise InputError(
                f"--objective {wanted}: no {group} is found in {FRAMES_LOOKED_AT} frames of each of the {len(clips)} "
                f"held-out clips of {plan.dataset}: take an objective that needs none, such as l1"
            )


def _detected(dataset: PairDataset, clip: int, instruments: Instruments, group: Group) -> bool:
    """Whether frames of a clip, compared with themselves, have a score."""
    count = int(dataset.n_frames[clip])
    numbers = sorted({number * count // FRAMES_LOOKED_AT for number in range(FRAMES_LOOKED_AT)})
    frames_B3HW = to_float(torch.from_numpy(dataset.frames(clip, numbers)))
    compared = METRICS_OF[group][0]
    for measure in instruments.measures(frames_B3HW[:1], transfer=False):
        measure.add(frames_B3HW, frames_B3HW)
        if measure.scores().get(MODEL + compared) is not None:
            return True
    return False


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
