"""What a sweep optimises: metrics of held-out clips that the swept fields do not rescale.

Never the training loss: lambda multiplies it, so that the best loss would be that of the smallest lambda.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from orchestration.evaluation.metrics import METRICS, OF_CLIPS, Group
from orchestration.experiment import Experiment
from orchestration.sweep.space import Space, corners
from pipelines.errors import InputError

Direction = Literal["minimize", "maximize"]

VALIDATED: Mapping[str, Direction] = {
    "l1": "minimize",
    "psnr": "maximize",
    "ssim": "maximize",
    "perceptual": "minimize",
}
"""Scores of the validation that comes with training: the same held-out pairs every time, so that weak trials are seen
early. `perceptual` is the loss's own distance, not times lambda."""
EVALUATED: Mapping[str, Direction] = {
    name: "minimize" if METRICS[name].lower_is_better else "maximize"
    for name in OF_CLIPS
    if name not in VALIDATED
}
"""Metrics of `lia evaluate`, taken on held-out clips once a trial is trained."""
PRUNED_BY = "l1"
"""The validated score by which trials are stopped whose objective is known only at the end."""
COPIED: Mapping[str, str] = {"l1": "copy_l1", "ssim": "copy_ssim"}
"""By metric the validated score of the source itself in place of the reconstruction: a trial has to beat it."""
_RESCALE = ("loss.perceptual_features", "loss.perceptual_scales")


def check_objectives(names: Sequence[str], space: Space, base: Experiment) -> tuple[str, ...]:
    """The objectives, each once. Raises InputError for one that is unknown, absent, or rescaled by the space."""
    for name in names:
        if name not in VALIDATED and name not in EVALUATED:
            known = ", ".join([*VALIDATED, *EVALUATED])
            raise InputError(f"--objective {name}: there is no such metric; there are: {known}")
    if base.schedule.validation_pairs == 0:
        raise InputError(
            "schedule.validation_pairs = 0: a sweep compares trials on held-out pairs: set 1 or more"
        )
    if "perceptual" in names:
        if any(d.field == "loss.perceptual" and 0 in d.ends for d in space.dimensions):
            raise InputError(
                "--objective perceptual: --space loss.perceptual has 0 in it, and trials without the term do not "
                "measure it: leave 0 out, or take --objective l1"
            )
        for field in _RESCALE:
            if field in space.fields:
                raise InputError(
                    f"--objective perceptual: --space {field} would rescale it; take --objective l1"
                )
        if not all(trial.loss.uses_perceptual for trial in corners(space, base, ("loss.perceptual",))):
            raise InputError(
                f"--objective perceptual: the loss has no perceptual term (loss.perceptual = {base.loss.perceptual:g}, "
                f"loss.perceptual_features = {base.loss.perceptual_features}): set --loss.perceptual above 0 and "
                "--loss.perceptual_features, or take --objective l1"
            )
    return tuple(dict.fromkeys(names))


def directions(names: Sequence[str]) -> list[Direction]:
    """Whether less is better, for each."""
    return [VALIDATED[name] if name in VALIDATED else EVALUATED[name] for name in names]


def pruned_by(names: Sequence[str]) -> str:
    """The validated score by which trials are stopped early."""
    return names[0] if names[0] in VALIDATED else PRUNED_BY


def pruning_sign(names: Sequence[str]) -> int:
    """By which that score is multiplied in the study, so that better is on the first objective's side: 1 or -1."""
    return 1 if VALIDATED[pruned_by(names)] == directions(names)[0] else -1


def missed_by(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that say what these leave out: faces, or joints, that are not found in the model's images."""
    return tuple(dict.fromkeys(m for name in names if name in METRICS and (m := METRICS[name].missed)))


def groups_of(names: Sequence[str]) -> tuple[Group, ...]:
    """What `lia evaluate` calls the groups of those metrics that are taken after training."""
    from orchestration.evaluation.instruments import METRICS_OF

    return tuple(
        group for group, metrics in METRICS_OF.items() if any(n in EVALUATED and n in metrics for n in names)
    )
