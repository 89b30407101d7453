"""What an evaluation ends with: a row of scores a clip, their means, the table for people."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestration.evaluation.intervals import CONFIDENCE, Interval, mean_interval
from orchestration.evaluation.metrics import BASELINE, METRICS, MODEL, NOISE, PROTOCOLS, Protocol
from orchestration.evaluation.published import OTHER_NETWORKS, PUBLISHED
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_path

CLIPS, SUMMARY = "clips.parquet", "summary.json"
EVALUATION = "evaluation"
"""Folder of a run, and of its artefacts in MLflow, in which `lia run` keeps its evaluation."""
NAMES = frozenset(prefix + name for prefix in (MODEL, BASELINE, NOISE) for name in METRICS)
BASELINES: Mapping[Protocol, str] = {
    "reconstruction": "copy of the source",
    "absolute": "the driving clip",
    "relative": "the driving clip",
}
"""What the baseline is: with what a model competes, and in transfer how unlike the two people are."""


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

    model_digest: str
    """sha256 of the model's files."""
    dataset_digest: str
    """Of the dataset, over plan and content."""
    partition: str
    protocol: Protocol = "reconstruction"
    dataset: str = ""
    """The dataset's name, by which published figures are found."""
    clips: list[ClipScore]
    expected_clips: int
    """Clips the metadata lists for the partition; those that could not be prepared are missing from `clips`."""
    sets: Mapping[str, float] = field(default_factory=dict)
    """Scores of all images together, which no clip has of its own."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """By metric, sha256 of its network's file, where there is no official one by which all measure."""
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

    def summary(self) -> dict[str, float]:
        """All means, by name."""
        return {name: interval.mean for name, interval in self.intervals.items()} | dict(self.sets)

    def columns(self) -> list[list[str]]:
        """The table by columns, each below its title: metrics, model, baseline, detectors' noise, published figures.

        Of the last two only what has an entry.
        """
        published = PUBLISHED.get(self.protocol, {}).get(self.dataset, {})
        found = {*self.absent, *self.sets, *(name for clip in self.clips for name in clip.values)}
        names = [name for name in METRICS if name in found]
        noise = [self._noise(name) for name in names]
        figures = [published.get(name, "") for name in names]
        columns = [
            [f"{self.protocol}, {self.partition}", *(METRICS[name].title for name in names)],
            [
                "model",
                *(self.absent.get(name, "").partition(":")[0] or self.cell(MODEL + name) for name in names),
            ],
            [BASELINES[self.protocol], *(self.cell(BASELINE + name) for name in names)],
        ]
        return columns + [
            [title, *cells] for title, cells in (("noise", noise), ("published", figures)) if any(cells)
        ]

    def notes(self) -> list[str]:
        """What readers of the table must know."""
        listed = "pairs" if self.protocol != "reconstruction" else "clips that the metadata lists"
        notes = [
            f"{len(self.clips)} of {self.expected_clips} {listed} were evaluated"
            + ("" if len(self.clips) > 1 else ": one clip tells nothing of others")
        ]
        for name in METRICS:
            without = sum(name in clip.values and clip.values[name] is None for clip in self.clips)
            if without:
                notes.append(
                    f"{METRICS[name].title}: nothing was found in {without} of {len(self.clips)} clips"
                )
        for why in dict.fromkeys(self.absent.values()):
            titles = ", ".join(METRICS[name].title for name in METRICS if self.absent.get(name) == why)
            notes.append(f"{titles}: {why}")
        for name in METRICS:
            if digest := self.networks.get(name):
                title = METRICS[name].title
                notes.append(f"{title}: by the file of sha256 {digest[:12]}: compare it with figures by that")
        if len(self.clips) > 1:
            notes.append(f"[ ] the mean's {CONFIDENCE:.0%} interval, by bootstrap over clips")
        if any(map(self._noise, METRICS)):
            notes.append("noise: of the detectors, between true frames and the same after JPEG of quality 75")
        if self.columns()[-1][0] == "published":
            notes.append("published: at 256 px unless said; a pixel of AKD is one of that size")
        if any(cell.endswith(OTHER_NETWORKS) for column in self.columns() for cell in column):
            notes.append(
                f"{OTHER_NETWORKS} by other networks than ours: an order of magnitude, no rival to compare with"
            )
        return notes

    def table(self) -> str:
        """The result for people: a metric a line, beside the baseline, the detectors' noise and published figures."""
        columns = self.columns()
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in zip(*columns, strict=True)
        ]
        return "\n".join(line.rstrip() for line in [*lines, *self.notes()])

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
            clips = [ClipScore.from_row(row) for row in pq.read_table(folder / CLIPS).to_pylist()]
            # The last three were not there in the first release.
            text = {"protocol": "reconstruction", "dataset": "", **document}
            names = ("model_digest", "dataset_digest", "partition", "protocol", "dataset")
            found = cls(
                clips=clips,
                expected_clips=int(document["expected_clips"]),
                sets=_scores(document.get("sets", {})),
                networks={str(name): str(digest) for name, digest in document.get("networks", {}).items()},
                absent={str(name): str(why) for name, why in document.get("absent", {}).items()},
                **{name: text[name] for name in names},
            )
            if found.protocol not in PROTOCOLS or not all(type(text[name]) is str for name in names):
                raise ValueError(f"protocol {found.protocol!r} of dataset {found.dataset!r}")
            return found
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise InputError(f"{folder}: holds no whole evaluation ({error}). Evaluate again.") from None

    def save(self, folder: Path) -> None:
        """Write clips.parquet (one row a clip) and summary.json, each whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder.mkdir(parents=True, exist_ok=True)
        names = sorted({name for clip in self.clips for name in clip.values})
        schema = pa.schema(
            [("clip_id", pa.string()), ("n_frames", pa.int64()), *((name, pa.float64()) for name in names)]
        )
        with atomic_path(folder / CLIPS) as partial:
            pq.write_table(pa.Table.from_pylist([clip.row() for clip in self.clips], schema), partial)
        document = {
            "model_digest": self.model_digest,
            "dataset_digest": self.dataset_digest,
            "dataset": self.dataset,
            "partition": self.partition,
            "protocol": self.protocol,
            "clips": len(self.clips),
            "expected_clips": self.expected_clips,
            "absent": dict(self.absent),
            "sets": dict(self.sets),
            "networks": dict(self.networks),
            **self.summary(),
            "intervals": {name: [found.low, found.high] for name, found in self.intervals.items()},
        }
        with atomic_path(folder / SUMMARY) as partial:
            partial.write_text(json.dumps(document, indent=2) + "\n")

    def cell(self, name: str) -> str:
        """A score for people, with its bounds; empty if it was not measured."""
        digits = METRICS[name.removeprefix(BASELINE)].digits
        if name in self.sets:
            return f"{self.sets[name]:.{digits}f}"
        interval = self.intervals.get(name)
        if interval is None:
            return "nothing found" if any(name in clip.values for clip in self.clips) else ""
        return f"{interval.mean:.{digits}f}" if interval.low == interval.high else interval.shown(digits)

    def _noise(self, name: str) -> str:
        interval = self.intervals.get(NOISE + name)
        return f"{interval.mean:.{METRICS[name].digits}f}" if interval else ""
