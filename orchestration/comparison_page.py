"""Training runs side by side on one HTML page: settings, provenance, scores, curves, moving pictures."""

import base64
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.compared_run import ComparedRun, open_runs
from orchestration.configuration import differing
from orchestration.evaluation.intervals import CONFIDENCE, LEAST_CLIPS
from orchestration.evaluation.metrics import BASELINE, METRICS
from orchestration.evaluation.paired import (
    DifferentClipsError,
    PairedComparison,
    clip_set,
    compare_evaluations,
)
from orchestration.evaluation.score_table import BASELINES, score_cell, too_narrow
from orchestration.evaluation.scores import Evaluation
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_folder
from pipelines.storage.scratch import scratch_folder
from pipelines.storage.store import writing
from tracking.curves import draw_curves
from tracking.page import Table, render_page
from tracking.provenance import TAG_PREFIX

TEMPLATE = Path(__file__).with_name("comparison_page.html")
SCRIPT = Path(__file__).with_name("comparison_page.js")
PAGE = "index.html"
MOST_GRIDS = 24
"""Sample grids of one run that are copied: evenly spread over training, the first and the last among them."""
_DIGEST_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What there is to see of a run, as file names beside the page."""

    video: str = ""
    grids: Mapping[int, str] = field(default_factory=dict)
    """By training step, rising."""
    step: int | None = None
    """The training step of the model that the video is of."""
    note: str = ""
    """What is missing or left out."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A cell of the table of scores."""

    score: str = ""
    difference: str = ""
    """From the first run's, and what it tells."""
    best: bool = False


def write_comparison(references: Sequence[str], folder: Path) -> None:
    """Make `folder`, which must be new or empty, with index.html and the pictures that it shows.

    The page depends on the runs alone, the time not included. What a run does not keep is said on it. Raises InputError
    or TrackingError where a run cannot be found or its store not be read, StorageError if nothing can be written.
    """
    with scratch_folder("compare") as scratch:
        runs = open_runs(references, scratch)
        with writing(folder, place="folder with --out", goes_on=""), atomic_folder(folder) as partial:
            html = comparison_page(runs, _copy_pictures(runs, partial))
            (partial / PAGE).write_text(html, encoding="utf-8", errors="replace")


def comparison_page(runs: Sequence[ComparedRun], pictures: Sequence[Shown]) -> str:
    """The page's HTML; `pictures` are in the order of the runs."""
    script = SCRIPT.read_text(encoding="utf-8")
    scores, notes = _scores(runs)
    return render_page(
        TEMPLATE,
        title=f"{len(runs)} training runs side by side",
        names=[run.name for run in runs],
        settings=differing([run.facts.params for run in runs]),
        unset=[run.name for run in runs if not run.facts.params],
        provenance=_provenance(runs),
        scores=scores,
        score_notes=notes,
        confidence=f"{CONFIDENCE:.0%}",
        least_clips=LEAST_CLIPS,
        curves=_curves(runs),
        uncharted=[run.name for run in runs if not run.curves],
        pictures=pictures,
        moving=any(shown.video or len(shown.grids) > 1 for shown in pictures),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def spread(steps: Sequence[int], most: int) -> list[int]:
    """At most `most` of the steps, evenly spread; the last one always, the first one where there is room for two."""
    if len(steps) <= most:
        return list(steps)
    if most == 1:
        return [steps[-1]]
    return [steps[number * (len(steps) - 1) // (most - 1)] for number in range(most)]


def _provenance(runs: Sequence[ComparedRun]) -> Table:
    rows = {
        "run in MLflow": [run.run.run_id for run in runs],
        "state": [run.facts.status.lower() for run in runs],
        "began": [_moment(run.facts.started_ms) for run in runs],
        "duration": [_duration(run) for run in runs],
        "steps": [_steps(run) for run in runs],
        "commit": [_commit(run) for run in runs],
        "dataset": [_tag(run, "dataset_digest")[:_DIGEST_LENGTH] for run in runs],
        "began with": [_tag(run, "initial_model") for run in runs],
        "torch": [_tag(run, "torch_version") for run in runs],
    }
    note = (
        "Times are UTC. The duration is from beginning to end by the clock, with all that came between. The dataset is "
        "named by its digest."
    )
    if len(set(rows["dataset"])) > 1:
        note += " The datasets differ: animations, grids and validation scores are of different clips."
    return Table(
        title="Provenance",
        columns=("", *(run.name for run in runs)),
        rows=[(name, *cells) for name, cells in rows.items() if any(cells)],
        note=note,
    )


def _moment(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _duration(run: ComparedRun) -> str:
    """1:23:45 or 2 days, 1:23:45; nothing while it runs."""
    facts = run.facts
    return (
        "" if facts.ended_ms is None else str(timedelta(seconds=(facts.ended_ms - facts.started_ms) // 1000))
    )


def _steps(run: ComparedRun) -> str:
    planned = run.facts.params.get("schedule.steps", "")
    done = f"{run.step:,}" if run.step is not None else ""
    return f"{done or 0} of {int(planned):,}" if planned.isdecimal() else done


def _commit(run: ComparedRun) -> str:
    changes = ", with changes" if _tag(run, "git_dirty") == "true" else ""
    return _tag(run, "git_commit")[:_DIGEST_LENGTH] + changes


def _tag(run: ComparedRun, name: str) -> str:
    return run.facts.tags.get(TAG_PREFIX + name, "")


def _curves(runs: Sequence[ComparedRun]) -> list[tuple[str, str]]:
    names = sorted(set().union(*(run.curves for run in runs)))
    return [(name, draw_curves(name, {run.name: run.curves.get(name, ()) for run in runs})) for name in names]


def _scores(runs: Sequence[ComparedRun]) -> tuple[list[tuple[str, list[Score]]], list[str]]:
    """Rows of the table (a metric, the baseline's, and so on) and what has to be said of them."""
    evaluations: list[Evaluation | None] = []
    notes = []
    for run in runs:
        try:
            evaluations.append(run.evaluation())
        except InputError as error:
            evaluations.append(None)
            notes.append(f"{run.name}: {error}.")
    names = [run.name for run in runs]
    comparisons, said = _compared(names, evaluations)
    rows: list[tuple[str, list[Score]]] = []
    beside = " or ".join(sorted({BASELINES[found.inputs.protocol] for found in evaluations if found}))
    for name, metric in METRICS.items():
        if any(found and score_cell(found, name) for found in evaluations):
            rows.append((metric.title, _row(name, evaluations, comparisons)))
            rows.append((beside, [Score(score=_shown(found, BASELINE + name)) for found in evaluations]))
    clips = [f"{len(found.clips)} of {found.expected_clips}" if found else "" for found in evaluations]
    rows.append(("clips evaluated", [Score(score=cell) for cell in clips]))
    return (rows if any(evaluations) else []), [
        *(*notes, *said),
        *_said_of_few_clips(names, evaluations),
        *_said_of_sets(evaluations),
    ]


def _said_of_few_clips(names: Sequence[str], evaluations: Sequence[Evaluation | None]) -> list[str]:
    """Which means' intervals are not to be relied on."""
    narrow = [too_narrow(evaluation) if evaluation else "" for evaluation in evaluations]
    if narrow[0] and len(set(narrow)) == 1:
        return [f"A mean's interval: {narrow[0]}."]
    return [f"{name}, a mean's interval: {said}." for name, said in zip(names, narrow, strict=True) if said]


def _said_of_sets(evaluations: Sequence[Evaluation | None]) -> list[str]:
    """Why some rows have neither interval nor verdict."""
    found = [
        name for name in METRICS if any(name in evaluation.sets for evaluation in evaluations if evaluation)
    ]
    titles = ", ".join(METRICS[name].title for name in found)
    return (
        [
            f"{titles}: of all images together. No clip has a value of its own, so there is no interval over clips, "
            "and neither better nor worse is said."
        ]
        if found
        else []
    )


def _compared(
    names: Sequence[str], evaluations: Sequence[Evaluation | None]
) -> tuple[list[PairedComparison | None], list[str]]:
    """Each run against the first, None where that cannot be, and in words what was compared with what."""
    first, comparisons, said = evaluations[0], [], []
    for name, evaluation in zip(names, evaluations, strict=True):
        found = None
        if first is not None and evaluation is not None and evaluation is not first:
            try:
                found = compare_evaluations(evaluation, first)
                said.append(
                    f"{name} and {names[0]} were evaluated on the same {clip_set(first)}."
                    + (f" {found.failures}." if found.failed else "")
                    + (" One clip tells nothing of others." if found.clips == 1 else "")
                )
            except DifferentClipsError as error:
                said.append(f"{name} and {names[0]} cannot be compared: they were evaluated on {error}.")
        comparisons.append(found)
    return comparisons, said


def _row(
    name: str, evaluations: Sequence[Evaluation | None], comparisons: Sequence[PairedComparison | None]
) -> list[Score]:
    cells, verdicts = [], []
    for evaluation, found in zip(evaluations, comparisons, strict=True):
        difference = found.differences.get(name) if found else None
        verdict = found.verdict(name) if found and difference else None
        shown = (
            f"{difference.shown(METRICS[name].digits, sign='+')} {verdict}{_undecided_since(found, name)}"
            f"{_on_fewer(found, name)}"
            if found and difference
            else ""
        )
        cells.append(Score(score=_shown(evaluation, name), difference=shown, best=verdict == "better"))
        verdicts.append(verdict)
    # The first one has nothing to be compared with but all the others.
    first_wins = len(verdicts) > 1 and all(verdict == "worse" for verdict in verdicts[1:])
    return [Score(score=cells[0].score, best=first_wins), *cells[1:]]


def _undecided_since(found: PairedComparison, name: str) -> str:
    """Why nothing is decided, where that is not seen from the interval."""
    difference = found.differences[name]
    if found.verdict(name) != "undecided" or difference.low <= 0 <= difference.high:
        return ""
    if found.measured[name] < LEAST_CLIPS:
        return f": {LEAST_CLIPS} clips at least can decide"
    if found.misses_more(name):
        return f": worse by {METRICS[METRICS[name].missed].title}"
    return ": has none in clips in which the first has one"


def _on_fewer(found: PairedComparison, name: str) -> str:
    """On which clips, and both means over them, where a metric has no value in some: the cells' means are of others."""
    if not found.partly_measured(name):
        return ""
    digits = METRICS[name].digits
    new, old = (f"{mean:.{digits}f}" for mean in found.means[name])
    return f" (on {found.measured[name]} clips that both have: {new} against {old})"


def _shown(evaluation: Evaluation | None, name: str) -> str:
    return score_cell(evaluation, name) if evaluation else ""


def _copy_pictures(runs: Sequence[ComparedRun], folder: Path) -> list[Shown]:
    """Copy each run's animation or, where it has none, its sample grids.

    The one control moves the videos if there are any; then the newest grid stands beside them.
    """
    videos: list[tuple[Path | None, str]] = []
    for run in runs:
        try:
            videos.append((run.animation(), ""))
        except InputError as error:
            videos.append((None, f"{error}."))
    most = 1 if any(path for path, _ in videos) else MOST_GRIDS
    shown = []
    for number, (run, (path, note)) in enumerate(zip(runs, videos, strict=True), start=1):
        if path is not None:
            video = f"run-{number}-animation.mp4"
            shutil.copyfile(path, folder / video)
            shown.append(Shown(video=video, step=run.step))
        else:
            shown.append(_copy_grids(run, folder, f"run-{number}", note, most))
    return shown


def _copy_grids(run: ComparedRun, folder: Path, prefix: str, note: str, most: int) -> Shown:
    grids, notes = {}, [note] if note else []
    steps = run.grid_steps()
    for step in spread(steps, most):
        try:
            path = run.grid(step)
        except InputError as error:
            notes.append(f"{error}.")
            continue
        grids[step] = f"{prefix}-step-{step:08d}.png"
        shutil.copyfile(path, folder / grids[step])
    if not steps:
        notes.append("The run keeps neither an animation (`lia run` makes one) nor sample grids.")
    elif len(steps) > most > 1:
        notes.append(f"{most} of its {len(steps)} sample grids.")
    return Shown(grids=grids, note=" ".join(notes))
