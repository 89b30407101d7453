"""What an evaluation ends with: a row of scores a clip, their means, the table for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestration.evaluation.intervals import CONFIDENCE, Interval, mean_interval
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_path

BASELINE = "baseline_"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is shown and read."""

    digits: int
    """After the point, in tables."""
    lower_is_better: bool


METRICS = {
    "l1": Metric(digits=4, lower_is_better=True),
    "psnr": Metric(digits=2, lower_is_better=False),
    "ssim": Metric(digits=4, lower_is_better=False),
}
"""In the order of the table."""
CLIPS, SUMMARY = "clips.parquet", "summary.json"
EVALUATION = "evaluation"
"""Folder of a run, and of its artefacts in MLflow, in which `lia run` keeps its evaluation."""


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """One clip's mean scores, the model's and the baseline's."""

    clip_id: str
    n_frames: int
    l1: float
    psnr: float
    ssim: float
    baseline_l1: float
    baseline_psnr: float
    baseline_ssim: float

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "ClipScore":
        """A row that `asdict` made; ValueError or TypeError if it is none."""
        score = cls(**row)
        for name, value in asdict(score).items():
            kind = {"clip_id": str, "n_frames": int}.get(name, float)
            if type(value) is not kind:
                raise TypeError(f"{name} = {value!r} is no {kind.__name__}")
        return score


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of every clip of a partition."""

    model_digest: str
    """sha256 of the model's files."""
    dataset_digest: str
    """Of the dataset, over plan and content."""
    partition: str
    clips: list[ClipScore]
    expected_clips: int
    """Clips the metadata lists for the partition; those that could not be prepared are missing from `clips`."""

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The mean over clips of each of ClipScore's numbers, with its bounds."""
        names = [prefix + name for prefix in ("", BASELINE) for name in METRICS]
        return {name: mean_interval([getattr(clip, name) for clip in self.clips]) for name in names}

    def mean(self, name: str) -> float:
        """Mean over clips of one of ClipScore's numbers."""
        return self.intervals[name].mean

    def summary(self) -> dict[str, float]:
        """All means, by name."""
        return {name: interval.mean for name, interval in self.intervals.items()}

    def compared(self) -> Sequence[tuple[str, float, float]]:
        """(metric, model, baseline) for reports."""
        return [(name, self.mean(name), self.mean(BASELINE + name)) for name in METRICS]

    def table(self) -> str:
        """The result for people: the model beside the baseline that copies the source, each with its bounds."""
        lines = [
            f"{'reconstruction, ' + self.partition:28}" + "".join(f"{name.upper():26}" for name in METRICS)
        ]
        for label, prefix in (("model", ""), ("copy of the source", BASELINE)):
            cells = [_cell(self.intervals[prefix + name], metric.digits) for name, metric in METRICS.items()]
            lines.append(f"{label:28}" + "".join(f"{cell:26}" for cell in cells))
        lines.append(
            f"{len(self.clips)} of {self.expected_clips} clips that the metadata lists were evaluated"
            + ("" if len(self.clips) > 1 else ": one clip tells nothing of others")
        )
        if len(self.clips) > 1:
            lines.append(f"[ ] the mean's {CONFIDENCE:.0%} interval, by bootstrap over clips")
        return "\n".join(line.rstrip() for line in lines)

    @staticmethod
    def is_saved(folder: Path) -> bool:
        """Whether `save` wrote here."""
        return all((folder / name).is_file() for name in (CLIPS, SUMMARY))

    @classmethod
    def load(cls, folder: Path) -> "Evaluation":
        """What `save` wrote; InputError where it is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            document = json.loads((folder / SUMMARY).read_text())
            clips = [ClipScore.from_dict(row) for row in pq.read_table(folder / CLIPS).to_pylist()]
            names = ("model_digest", "dataset_digest", "partition", "expected_clips")
            return cls(clips=clips, **{name: document[name] for name in names})
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise InputError(f"{folder}: holds no whole evaluation ({error}). Evaluate again.") from None

    def save(self, folder: Path) -> None:
        """Write clips.parquet (one row a clip) and summary.json, each whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / CLIPS) as partial:
            pq.write_table(pa.Table.from_pylist([asdict(clip) for clip in self.clips]), partial)
        document = {
            "model_digest": self.model_digest,
            "dataset_digest": self.dataset_digest,
            "partition": self.partition,
            "clips": len(self.clips),
            "expected_clips": self.expected_clips,
            **self.summary(),
            "intervals": {name: [found.low, found.high] for name, found in self.intervals.items()},
        }
        with atomic_path(folder / SUMMARY) as partial:
            partial.write_text(json.dumps(document, indent=2) + "\n")


def _cell(interval: Interval, digits: int) -> str:
    return f"{interval.mean:.{digits}f}" if interval.low == interval.high else interval.shown(digits)
