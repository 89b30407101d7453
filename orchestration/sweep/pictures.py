"""Pictures of a sweep: Optuna's own of the study, and every trial's reconstruction of the same frame."""

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, MaxNLocator, NullFormatter
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots
from PIL.Image import Image

from lia_model.pixels import to_float, to_uint8
from lia_model.weights import WeightsError
from orchestration.models import load_model
from orchestration.sheets import captioned_grid, save_sheet
from orchestration.sweep import study as studies
from orchestration.sweep.live_table import shown_value, title
from orchestration.sweep.plan import SweepFolder, SweepPlan
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import InputError
from pipelines.media.images import RgbImage
from pipelines.storage.atomic import atomic_path
from pipelines.storage.location import parse_location

INCHES = (9.0, 5.5)
INCHES_A_FIELD = 3.2
"""Where every field has a panel, or a row and a column of them."""
LINES = "viridis"
"""Colours of lines by score: of Optuna's own the palest cannot be seen on white."""
STRIP = "Every trial's reconstruction of the same frame"
MOST_TRIALS = 48
"""In the strip; of more, the best."""
STRIP_COLUMNS = 6
OF_TRIALS, OF_FIELDS = "history, slices and Pareto front", "parallel coordinates"
CONTOURS, IMPORTANCE = "contours", "importance of the fields"
LEAST_COMPLETE = {OF_TRIALS: 2, OF_FIELDS: 2, CONTOURS: 6, IMPORTANCE: 4}
"""Pictures that mislead where fewer trials are complete: what lies between trials is guessed."""
SEVERAL_FIELDS = (OF_FIELDS, CONTOURS, IMPORTANCE)
"""Pictures of several fields."""
MOST_TICKS = 4
"""On a logarithmic axis."""


def draw_pictures(folder: SweepFolder, plan: SweepPlan, study: Study) -> dict[str, Path]:
    """Draw what the study allows; returns the pictures by caption."""
    folder.pictures.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for caption, (name, draw) in _plots(plan, study).items():
        path = folder.pictures / name
        with atomic_path(path) as partial:
            _save(draw, partial, len(plan.read_space().fields))
        drawn[caption] = path
    strip = folder.pictures / "strip.png"
    save_sheet(reconstruction_strip(folder, plan, study), strip)
    return {**drawn, STRIP: strip}


def _plots(plan: SweepPlan, study: Study) -> dict[str, tuple[str, Callable[[], Any]]]:
    """Optuna's pictures by caption: a file's name, and what draws it."""
    fields, count = plan.read_space().fields, len(studies.complete(study))
    without = left_out(plan, study)
    found: dict[str, tuple[str, Callable[[], Any]]] = {}
    several = len(plan.objectives) > 1
    if 1 < len(plan.objectives) <= 3 and OF_TRIALS not in without:
        names = list(plan.objectives)
        found["Pareto front"] = ("pareto.png", lambda: plots.plot_pareto_front(study, target_names=names))

    def of(number: int) -> Callable[[FrozenTrial], float]:
        return lambda trial: float(trial.values[number])

    for number, name in enumerate(plan.objectives):
        about: dict[str, Any] = {"target_name": name, **({"target": of(number)} if several else {})}
        suffix = f"-{name}" if several else ""

        def plot(draw: Any, about: dict[str, Any] = about, **more: Any) -> Callable[[], Any]:
            return lambda: draw(study, **more, **about)

        if OF_TRIALS not in without:
            found[f"History, {name}"] = (f"history{suffix}.png", plot(plots.plot_optimization_history))
            found[f"Slices, {name}"] = (f"slice{suffix}.png", plot(plots.plot_slice))
        if len(fields) > 1 and OF_FIELDS not in without:
            parallel = plot(plots.plot_parallel_coordinate)
            found[f"Parallel coordinates, {name}"] = (f"parallel{suffix}.png", parallel)
        if len(fields) > 1 and CONTOURS not in without:
            contour = plot(plots.plot_contour, params=_varied(fields, study))
            found[f"Contours, {name} ({count} complete trials)"] = (f"contour{suffix}.png", contour)
        if len(fields) > 1 and IMPORTANCE not in without:
            importance = plot(plots.plot_param_importances)
            caption = f"Importance of the fields, {name} ({count} complete trials)"
            found[caption] = (f"importance{suffix}.png", importance)
    return found


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


def _save(draw: Callable[[], Any], path: Path, fields: int) -> None:
    with matplotlib.rc_context({"figure.constrained_layout.use": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its pictures experimental, and says so for each
        axes = draw()
        figure = np.ravel(axes)[0].figure
        assert isinstance(figure, Figure)
        for lines in (found for axis in figure.axes for found in axis.collections):
            if isinstance(lines, LineCollection):
                lines.set_cmap(LINES)
        _thin_ticks(figure)
        figure.set_size_inches(*_inches(np.shape(axes), fields))
        figure.savefig(path, format="png", dpi=120)
        pyplot.close(figure)


def _thin_ticks(figure: Figure) -> None:
    """Numbers of trials are whole; labels of a logarithmic axis would lie over one another."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if axis.get_scale() == "log":
            axis.set_major_locator(FixedLocator(log_ticks(*axis.get_view_interval())))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())
        elif axis.get_label_text() == "Trial":
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
    """Complete trials from the best on, then those that were stopped."""
    stopped = [trial for trial in studies.finished(study) if trial.state is TrialState.PRUNED]
    return studies.ranked(plan, studies.complete(study)) + stopped


def _caption(plan: SweepPlan, trial: FrozenTrial) -> str:
    """The trial and its score, and each field in a line of its own: a tile is narrow."""
    complete = trial.state is TrialState.COMPLETE
    score = f"{plan.objectives[0]} {trial.values[0]:.4f}" if complete else f"stopped at {trial.last_step}"
    fields = (f"{title(name)} {shown_value(value)}" for name, value in trial.params.items())
    return "\n".join([f"trial {trial.number}: {score}", *fields])
