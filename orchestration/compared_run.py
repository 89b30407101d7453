"""What a comparison reads of a training run: its record in MLflow and, where it was named by it, its folder."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from orchestration.evaluation.scores import EVALUATION, Evaluation
from orchestration.training.run_folder import RunFolder
from pipelines.errors import InputError, VideoError
from pipelines.media.images import read_image
from pipelines.media.video import read_info
from tracking.curves import Points
from tracking.errors import TrackingError
from tracking.run import Run, RunFacts

ANIMATION = "pictures/animation.mp4"
CURVES = ("loss/", "validation/")
"""What the names of the metrics that are drawn begin with."""
_SCORED = "eval/l1"
"""Recorded once, at the step that the model was left at."""
_RUN_ID = re.compile(r"[0-9a-f]{32}|runs:/[^/]+")
_GRID = re.compile(r"samples/step-(\d{1,12})\.png")


class ComparedRun:
    """A run to read from. What the run does not keep, or keeps damaged, raises InputError when it is asked for."""

    def __init__(self, name: str, run: Run, folder: RunFolder | None, scratch: Path) -> None:
        """`name` is how it is called; what is downloaded goes into `scratch`."""
        self.name = name
        self.run = run
        self.folder = folder
        self._scratch = scratch / run.run_id
        self._scratch.mkdir()

    @cached_property
    def facts(self) -> RunFacts:
        """Its state, times, configuration and provenance."""
        return self.run.facts()

    @cached_property
    def curves(self) -> dict[str, Points]:
        """Losses and validation scores by name."""
        names = [name for name in self.run.metric_names() if name.startswith(CURVES)]
        return {name: self.run.history(name) for name in names}

    @cached_property
    def step(self) -> int | None:
        """The last training step on record."""
        histories = [*self.curves.values(), self.run.history(_SCORED)]
        return max((points[-1][0] for points in histories if points), default=None)

    def evaluation(self) -> Evaluation:
        """The scores of its model on held-out clips."""
        folder = self._kept(EVALUATION)
        if folder is None or not Evaluation.is_saved(folder):
            raise InputError(
                "keeps no evaluation; `lia run` evaluates what it trains, and after `lia train` "
                "`lia evaluate --model RUN --data DIR --record` does"
            )
        try:
            evaluation = Evaluation.load(folder)
        except InputError:
            raise InputError("its evaluation cannot be read: evaluate it again") from None
        if self.folder and self.folder.model_digest() not in (None, evaluation.inputs.model_digest):
            raise InputError("its evaluation is of another model: evaluate it again")
        return evaluation

    def animation(self) -> Path | None:
        """A video of a held-out image moving like a held-out clip, if it keeps one."""
        path = self._kept(ANIMATION)
        try:
            if path is not None:
                read_info(path)
        except VideoError:
            raise InputError("its animation cannot be played: the file is damaged") from None
        return path

    def grid_steps(self) -> list[int]:
        """The steps at which it kept a grid of samples."""
        return sorted(self._grids)

    def grid(self, step: int) -> Path:
        """The grid of one of `grid_steps`."""
        path = self.run.download(self._grids[step], self._scratch)
        try:
            read_image(path)
        except VideoError:
            raise InputError(f"its sample grid of step {step:,} is damaged") from None
        return path

    @cached_property
    def _grids(self) -> dict[int, str]:
        found = [_GRID.fullmatch(name) for name in self.run.list_artifacts("samples")]
        return {int(grid[1]): grid[0] for grid in found if grid}

    def _kept(self, name: str) -> Path | None:
        """A file or folder in the run's folder, else a copy of the artefact; None where it is in neither."""
        if self.folder and (self.folder.path / name).exists():
            return self.folder.path / name
        above = str(PurePosixPath(name).parent)
        if name not in self.run.list_artifacts("" if above == "." else above):
            return None
        return self.run.download(name, self._scratch)


def open_runs(references: Sequence[str], scratch: Path) -> list[ComparedRun]:
    """The runs that folders, MLflow's run ids or runs:/ID name, each of which must be another.

    Raises InputError or TrackingError with the reference that is at fault.
    """
    opened = [_open(reference) for reference in references]
    named: dict[str, str] = {}
    for reference, (run, _) in zip(references, opened, strict=True):
        if run.run_id in named:
            raise InputError(f"{named[run.run_id]} and {reference} are the same run: name two or more")
        named[run.run_id] = reference
    names = [run.name for run, _ in opened]
    return [
        ComparedRun(
            run.name if names.count(run.name) == 1 else f"{run.name} ({run.run_id[:8]})", run, folder, scratch
        )
        for run, folder in opened
    ]


def _open(reference: str) -> tuple[Run, RunFolder | None]:
    folder = RunFolder(Path(reference))
    try:
        if folder.exists():
            record = folder.record()
            return Run.attach(record.run_id, tracking_uri=record.tracking_uri), folder
        if _RUN_ID.fullmatch(reference):
            return Run.attach(reference.removeprefix("runs:/")), None
    except TrackingError as error:
        raise TrackingError(f"{reference}: {error}") from error
    what = "holds no run (no run.json)" if folder.path.is_dir() else "there is no such run"
    raise InputError(
        f"{reference}: {what}; name a folder that `lia train --out` wrote, a run-* folder of `lia run`, or a run id of "
        "MLflow"
    )
