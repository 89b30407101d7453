"""Pictures of a sweep: Optuna's own of the study, and every trial's reconstruction of the same frame."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, MaxNLocator, NullFormatter
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots
from PIL.Image import Image

from lia_model.pixels import to_float, to_uint8
from lia_model.weights import WeightsError
from orchestration.models import load_model
from orchestration.sheets import captioned_grid, save_sheet
from orchestration.sweep import study as studies
from orchestration.sweep.live_table import STATES, shown_value, title
from orchestration.sweep.objectives import pruned_by, pruning_sign
from orchestration.sweep.plan import SweepFolder, SweepPlan
from orchestration.training.records import say
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import InputError, StorageError
from pipelines.media.images import RgbImage
from pipelines.storage.atomic import atomic_path
from pipelines.storage.location import parse_location

INCHES = (9.0, 5.5)
INCHES_A_FIELD = 3.2
"""Where every field has a panel, or a row and a column of them."""
TITLE_POINTS = 11
LINES = "viridis"
"""Colours of lines by score: of Optuna's own the palest cannot be seen on white."""
STRIP = "Every trial's reconstruction of the same frame"
STRIP_FILE = "strip.png"
MOST_TRIALS = 48
"""In the strip; of more, the best."""
STRIP_COLUMNS = 6
OF_TRIALS, OF_FIELDS = "history, slices and Pareto front", "parallel coordinates"
CONTOURS, IMPORTANCE = "contours", "importance of the fields"
LEAST_COMPLETE = {OF_TRIALS: 2, OF_FIELDS: 2, CONTOURS: 6, IMPORTANCE: 4}
"""Pictures that mislead where fewer trials are complete: what lies between trials is guessed."""
FEW_TRIALS = 20
"""Fewer complete ones leave the importance of fields a guess."""
MOST_CURVES = 20
"""Of more trials, curves go without a legend: it has that many colours, and room."""
SEVERAL_FIELDS = (OF_FIELDS, CONTOURS, IMPORTANCE)
"""Pictures of several fields."""
MOST_TICKS = 4
"""On a logarithmic axis."""
Plot = tuple[str, Callable[[], Any]]
"""A file's name, and what draws it."""


def draw_pictures(folder: SweepFolder, plan: SweepPlan, study: Study) -> dict[str, Path]:
    """Draw what the study allows; returns the pictures by caption."""
    folder.pictures.mkdir(parents=True, exist_ok=True)
    drawn, fields = {}, plan.read_space().distributions()
    for caption, (name, draw) in _plots(plan, study).items():
        path = folder.pictures / name
        with atomic_path(path) as unfinished:
            _save(draw, unfinished, caption, fields)
        drawn[caption] = path
    if any(folder.trial(trial.number).model.exists() for trial in studies.finished(study)):
        try:
            save_sheet(reconstruction_strip(folder, plan, study), folder.pictures / STRIP_FILE)
            drawn[STRIP] = folder.pictures / STRIP_FILE
        except (InputError, StorageError) as error:  # of the dataset
            say(f"{STRIP_FILE}: not drawn: {error}")
    return drawn


def _plots(plan: SweepPlan, study: Study) -> dict[str, Plot]:
    """Optuna's pictures by caption.

    All but the curves are of complete trials: scores at other steps are no scores to compare.
    """
    found: dict[str, Plot] = {}
    for pair in combinations(plan.objectives, 2) if OF_TRIALS not in left_out(plan, study) else ():
        of_all = "" if len(plan.objectives) == 2 else " of all objectives, by"
        caption = f"Pareto front{of_all or ','} {' and '.join(pair)} ({_shown(study)})"
        name = f"pareto-{'-'.join(pair)}.png" if of_all else "pareto.png"
        found[caption] = (name, partial(_front, plan, study, pair))
    if any(t.intermediate_values for t in studies.finished(study) if t.state is not TrialState.FAIL):
        failed = sum(trial.state is TrialState.FAIL for trial in studies.finished(study))
        without = f"; not shown: {failed} failed" if failed else ""
        caption = f"Curves, {_pruning_score(plan)} of each validation (stopped trials end early{without})"
        found[caption] = ("curves.png", partial(_curves, plan, study))
    for number in range(len(plan.objectives)):
        found |= _plots_of(plan, study, number)
    return found


def _plots_of(plan: SweepPlan, study: Study, number: int) -> dict[str, Plot]:
    """The pictures of one objective."""
    name, several = plan.objectives[number], len(plan.objectives) > 1
    fields, without = plan.read_space().fields, left_out(plan, study)
    target: dict[str, Any] = {"target": lambda trial: float(trial.values[number])} if several else {}
    guess = "; of so few a guess" if len(studies.complete(study)) < FEW_TRIALS else ""
    drawn: tuple[tuple[str, str, str, Callable[..., Any], dict[str, Any]], ...] = (
        ("History", "history", OF_TRIALS, plots.plot_optimization_history, {}),
        ("Slices", "slice", OF_TRIALS, plots.plot_slice, {}),
        ("Parallel coordinates", "parallel", OF_FIELDS, plots.plot_parallel_coordinate, {}),
        ("Contours", "contour", CONTOURS, plots.plot_contour, {"params": _varied(fields, study)}),
        ("Importance of the fields", "importance", IMPORTANCE, plots.plot_param_importances, {}),
    )
    return {
        f"{caption}, {name} ({_shown(study)}{guess if needs == IMPORTANCE else ''})": (
            f"{stem}-{name}.png" if several else f"{stem}.png",
            partial(draw, study, target_name=name, **target, **more),
        )
        for caption, stem, needs, draw, more in drawn
        if needs not in without and (len(fields) > 1 or needs not in SEVERAL_FIELDS)
    }


def _shown(study: Study) -> str:
    """How many trials a picture of complete ones shows, and of which it says nothing."""
    complete = len(studies.complete(study))
    others = [
        f"{count} {STATES[state]}"
        for state in (TrialState.PRUNED, TrialState.FAIL)
        if (count := sum(trial.state is state for trial in studies.finished(study)))
    ]
    trials = f"{complete} complete trial{'' if complete == 1 else 's'}"
    return f"{trials}; not shown: {', '.join(others)}" if others else trials


def _front(plan: SweepPlan, study: Study, pair: Sequence[str]) -> Any:
    """The front of all objectives by two of them; a picture in space could not be read."""
    of = [plan.objectives.index(name) for name in pair]

    def values(trial: FrozenTrial) -> list[float]:
        return [float(trial.values[number]) for number in of]

    axes = plots.plot_pareto_front(study, target_names=list(pair), targets=values)
    for trial in studies.best(study):
        x, y = values(trial)
        axes.annotate(str(trial.number), (x, y), xytext=(4, 4), textcoords="offset points")
    return axes


def _pruning_score(plan: SweepPlan) -> str:
    return ("" if pruning_sign(plan.objectives) > 0 else "-") + pruned_by(plan.objectives)


def _curves(plan: SweepPlan, study: Study) -> Any:
    """The score that trials are stopped by, over their steps."""
    axes = plots.plot_intermediate_values(study)
    axes.set_ylabel(_pruning_score(plan))
    if len(axes.lines) > MOST_CURVES and (legend := axes.get_legend()):
        legend.remove()
    return axes


def left_out(plan: SweepPlan, study: Study) -> dict[str, str]:
    """Pictures that are not drawn though as many fields are swept as they show, and what is missing."""
    fields, count = plan.read_space().fields, len(studies.complete(study))
    several = len(fields) > 1
    found = {
        picture: f"{count} complete trial{'' if count == 1 else 's'}, {least} are needed"
        for picture, least in LEAST_COMPLETE.items()
        if count < least and (several or picture not in SEVERAL_FIELDS)
    }
    if several and len(_varied(fields, study)) < 2:
        same = "complete trials differ in fewer than two fields"
        found = {CONTOURS: same, IMPORTANCE: same} | found
    return found


def _varied(fields: Sequence[str], study: Study) -> list[str]:
    """The fields in which complete trials differ."""
    trials = studies.complete(study)
    return [name for name in fields if len({trial.params[name] for trial in trials}) > 1]


def _save(draw: Callable[[], Any], path: Path, caption: str, fields: Mapping[str, BaseDistribution]) -> None:
    with matplotlib.rc_context({"figure.constrained_layout.use": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its pictures experimental, and says so for each
        axes = draw()
        figure = np.ravel(axes)[0].figure
        assert isinstance(figure, Figure)
        for lines in (found for axis in figure.axes for found in axis.collections):
            if isinstance(lines, LineCollection):
                lines.set_cmap(LINES)
        _thin_ticks(figure, {"Trial", *(name for name in fields if _whole(fields[name]))})
        for side in ("left", "center"):
            figure.axes[0].set_title("", loc=side)
        figure.suptitle(caption, fontsize=TITLE_POINTS)
        figure.set_size_inches(*_inches(np.shape(axes), len(fields)))
        figure.savefig(path, format="png", dpi=120)
        pyplot.close(figure)


def _whole(values: BaseDistribution) -> bool:
    """Whether a field has whole numbers only."""
    choices = values.choices if isinstance(values, CategoricalDistribution) else ()
    return isinstance(values, IntDistribution) or (bool(choices) and all(type(c) is int for c in choices))


def _thin_ticks(figure: Figure, whole: Set[str]) -> None:
    """Labels of a logarithmic axis would lie over one another; axes called so show `whole` numbers."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if axis.get_scale() == "log":
            axis.set_major_locator(FixedLocator(log_ticks(*axis.get_view_interval())))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())
        elif axis.get_label_text() in whole and not isinstance(axis.get_major_locator(), StrCategoryLocator):
            axis.set_major_locator(MaxNLocator(integer=True))


def log_ticks(low: float, high: float) -> list[float]:
    """A few round numbers between: powers of ten, else multiples of these, else the ends and their middle."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [float(f"{f * p:.3g}") for p in powers for f in factors if low <= f * p <= high]
        if len(ticks) >= 2:
            return ticks[:: -(-len(ticks) // MOST_TICKS)]
    return [float(f"{value:.3g}") for value in (low, math.sqrt(low * high), high)]


def _inches(panels: tuple[int, ...], fields: int) -> tuple[float, float]:
    """Width and height of a picture with such an array of panels."""
    width, height = INCHES
    return (
        max(width, INCHES_A_FIELD * fields) if panels else width,
        max(height, INCHES_A_FIELD * fields) if len(panels) == 2 else height,
    )


def reconstruction_strip(folder: SweepFolder, plan: SweepPlan, study: Study) -> Image:
    """Source and driving frame of a held-out clip, and what each trial makes of them, the best first."""
    dataset = PairDataset(parse_location(plan.dataset), "test")
    clip = int(np.argmax(dataset.n_frames))
    source_HW3, driving_HW3 = dataset.frames(clip, (0, int(dataset.n_frames[clip]) // 2))
    tiles, captions = [source_HW3, driving_HW3], ["source", "driving"]
    for trial in _in_order(plan, study)[:MOST_TRIALS]:
        made = _reconstruction(folder.trial(trial.number).model, source_HW3, driving_HW3)
        if made is not None:
            tiles.append(made)
            captions.append(_caption(plan, trial))
    return captioned_grid(tiles, captions, columns=STRIP_COLUMNS)


def _reconstruction(model: Path, source_HW3: RgbImage, driving_HW3: RgbImage) -> RgbImage | None:
    try:
        generator = load_model(str(model))
    except (InputError, WeightsError):
        return None  # it failed before it had a model
    device = next(generator.parameters()).device
    source, driving = (
        to_float(torch.from_numpy(image)[None]).to(device) for image in (source_HW3, driving_HW3)
    )
    with torch.no_grad():
        made: RgbImage = to_uint8(generator(source, driving))[0]
    return made


def _in_order(plan: SweepPlan, study: Study) -> list[FrozenTrial]:
    """Complete trials from the best on, then those that were stopped, then those that failed."""
    others = [
        trial
        for state in (TrialState.PRUNED, TrialState.FAIL)
        for trial in studies.finished(study)
        if trial.state is state
    ]
    return studies.ranked(plan, studies.complete(study)) + others


def _caption(plan: SweepPlan, trial: FrozenTrial) -> str:
    """The trial and its score, and each field in a line of its own: a tile is narrow."""
    score = studies.score(plan, trial, plan.objectives[0])
    head = f"trial {trial.number}" + (f": {plan.objectives[0]} {score:.4f}" if score is not None else "")
    complete = trial.state is TrialState.COMPLETE
    step = studies.last_step(trial)
    ended = [] if complete else [STATES[trial.state] + (f" at {step}" if step else "")]
    fields = (f"{title(name)} {shown_value(value)}" for name, value in trial.params.items())
    return "\n".join([head, *ended, *fields])
