"""What an evaluation ends with: a row of scores a clip, and their means. The table for people: see `score_table`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestration.evaluation.inputs import EvaluationInputs, digest_pairs
from orchestration.evaluation.intervals import Interval, mean_interval
from orchestration.evaluation.metrics import BASELINE, METRICS, MODEL, NOISE
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_path

CLIPS, SUMMARY = "clips.parquet", "summary.json"
EVALUATION = "evaluation"
"""Folder of a run, and of its artefacts in MLflow, in which `lia run` keeps its evaluation."""
NAMES = frozenset(prefix + name for prefix in (MODEL, BASELINE, NOISE) for name in METRICS)
FAILURE = "failure"
"""Column of clips.parquet: why a clip could not be scored; it then has no scores."""


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """One clip's scores, or one pair's."""

    clip_id: str
    n_frames: int
    values: Mapping[str, float | None]
    """By NAMES, means over the frames; None where the clip has nothing to measure, such as no face."""

    def row(self) -> dict[str, str | int | float | None]:
        """One flat row, as it is stored."""
        return {"clip_id": self.clip_id, "n_frames": self.n_frames, **self.values}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "ClipScore":
        """What `row` made; ValueError, KeyError or TypeError if it is none."""
        values = dict(row)
        clip_id, n_frames = values.pop("clip_id"), values.pop("n_frames")
        if type(clip_id) is not str or type(n_frames) is not int:
            raise TypeError(f"clip_id = {clip_id!r}, n_frames = {n_frames!r}")
        return cls(clip_id=clip_id, n_frames=n_frames, values=_scores(values))


def _scores(values: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if name not in NAMES:
            raise ValueError(f"{name}: no such metric")
        if value is not None and (type(value) is not float or not math.isfinite(value)):
            raise TypeError(f"{name} = {value!r} is no finite number")
    return dict(values)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of every clip of a partition."""

    inputs: EvaluationInputs
    """What was measured, of which model, on which clips."""
    dataset: str
    """The dataset's name, by which published figures are found."""
    image_size: int
    """Side of the clips' and the model's images in pixels."""
    clips: list[ClipScore]
    """Of the clips that could be scored, by name."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Why the others could not, by clip id: their data are damaged. They count in no score."""
    expected_clips: int
    """Clips the metadata lists for the partition; those that could not be prepared are in neither of the above."""
    sets: Mapping[str, float] = field(default_factory=dict)
    """Scores of all images together, which no clip has of its own."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Metrics that were not measured: what is absent, and after a colon what would help."""

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The mean over the clips that have it of each score, with its bounds, in the order of METRICS."""
        found = {}
        for name in (prefix + name for prefix in (MODEL, BASELINE, NOISE) for name in METRICS):
            values = [value for clip in self.clips if (value := clip.values.get(name)) is not None]
            if values:
                found[name] = mean_interval(values)
        return found

    @property
    def measured(self) -> list[str]:
        """Metrics of which there is a score of the model."""
        return [name for name in METRICS if name in self.intervals]

    def mean(self, name: str) -> float:
        """Mean over clips of a score."""
        return self.intervals[name].mean

    def clips_with(self, name: str) -> int:
        """How many clips have this score, of which its mean is."""
        return sum(clip.values.get(name) is not None for clip in self.clips)

    def summary(self) -> dict[str, float]:
        """All means, by name."""
        return {name: interval.mean for name, interval in self.intervals.items()} | dict(self.sets)

    @staticmethod
    def is_saved(folder: Path) -> bool:
        """Whether `save` wrote here."""
        return all((folder / name).is_file() for name in (CLIPS, SUMMARY))

    @classmethod
    def load(cls, folder: Path) -> "Evaluation":
        """What `save` wrote; InputError where it is damaged."""
        import pyarrow as pa

        try:
            document = json.loads((folder / SUMMARY).read_text())
            clips, failures = _read_clips(folder / CLIPS)
            dataset, image_size = document["dataset"], document["image_size"]
            if type(dataset) is not str or type(image_size) is not int:
                raise TypeError(f"dataset = {dataset!r}, image_size = {image_size!r}")
            inputs = EvaluationInputs.from_dict(document["inputs"])
            if digest_pairs([*(clip.clip_id for clip in clips), *failures]) != inputs.pairs:
                raise ValueError(f"{CLIPS} holds other clips than those that were evaluated")
            return cls(
                inputs=inputs,
                dataset=dataset,
                image_size=image_size,
                clips=clips,
                failures=failures,
                expected_clips=int(document["expected_clips"]),
                sets=_scores(document["sets"]),
                absent={str(name): str(why) for name, why in document["absent"].items()},
            )
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            pa.ArrowException,
        ) as error:
            raise InputError(
                f"{folder}: holds no whole evaluation of this release ({type(error).__name__}: {error}). Delete it "
                "and evaluate again."
            ) from None

    def save(self, folder: Path) -> None:
        """Write clips.parquet (one row a clip) and summary.json, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        # Killed half-way, the folder must not hold one evaluation's summary and another one's clips.
        (folder / SUMMARY).unlink(missing_ok=True)
        _write_clips(folder / CLIPS, self.clips, self.failures)
        document = {
            "inputs": self.inputs.to_dict(),
            "dataset": self.dataset,
            "image_size": self.image_size,
            "clips": len(self.clips),
            "failed_clips": len(self.failures),
            "expected_clips": self.expected_clips,
            "absent": dict(self.absent),
            "sets": dict(self.sets),
            **self.summary(),
            "intervals": {name: [found.low, found.high] for name, found in self.intervals.items()},
        }
        with atomic_path(folder / SUMMARY) as partial:
            partial.write_text(json.dumps(document, indent=2) + "\n")


def _write_clips(path: Path, clips: Sequence[ClipScore], failures: Mapping[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted({name for clip in clips for name in clip.values})
    schema = pa.schema(
        [
            ("clip_id", pa.string()),
            ("n_frames", pa.int64()),
            (FAILURE, pa.string()),
            *((name, pa.float64()) for name in names),
        ]
    )
    rows = [
        *(clip.row() for clip in clips),
        *({"clip_id": name, FAILURE: why} for name, why in failures.items()),
    ]
    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema), partial)


def _read_clips(path: Path) -> tuple[list[ClipScore], dict[str, str]]:
    """The clips' scores, and why the others have none."""
    import pyarrow.parquet as pq

    clips, failures = [], {}
    for row in pq.read_table(path).to_pylist():
        why = row.pop(FAILURE)
        if why is None:
            clips.append(ClipScore.from_row(row))
        else:
            failures[str(row["clip_id"])] = str(why)
    return clips, failures
