"""The reconstruction protocol as a Ray Data job: each clip's first frame drives to every frame of the clip.

Source = frame 0, driving = every frame, frame 0 included, absolute motion. Scores are averaged over a clip's frames,
then over clips (FOMM averages over all frames alike). Beside the model stands the baseline that copies the source:
what the numbers would be if nothing moved.
"""

# T frames
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lia_model import metrics
from lia_model.animation import animate
from lia_model.generator import Generator
from lia_model.pixels import to_float
from orchestration.cluster import Resources, connected
from orchestration.models import load_model, local_model, read_model
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, StorageError
from pipelines.storage.atomic import atomic_path
from pipelines.storage.location import Location

METRICS = {"l1": metrics.l1, "psnr": metrics.psnr, "ssim": metrics.ssim}
BATCH = 16
# Frame 0 is copied exactly: a PSNR that is not capped would be infinite.
PSNR_CAP_DB = 100.0


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


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of every clip of a partition."""

    partition: str
    clips: list[ClipScore]
    expected_clips: int
    """Clips the metadata lists for the partition; those that could not be prepared are missing from `clips`."""

    def mean(self, name: str) -> float:
        """Mean over clips of one of ClipScore's numbers."""
        return float(np.mean([getattr(clip, name) for clip in self.clips]))

    def summary(self) -> dict[str, float]:
        """All means, by name."""
        return {f.name: self.mean(f.name) for f in fields(ClipScore) if f.name not in ("clip_id", "n_frames")}

    def table(self) -> str:
        """The result for people: the model beside the baseline that copies the source."""
        rows = [("model", ""), ("copy of the source", "baseline_")]
        lines = [f"{'reconstruction, ' + self.partition:28}{'L1':>9}{'PSNR':>9}{'SSIM':>9}"]
        for label, prefix in rows:
            l1, psnr, ssim = (self.mean(prefix + name) for name in METRICS)
            lines.append(f"{label:28}{l1:9.4f}{psnr:9.2f}{ssim:9.4f}")
        lines.append(
            f"{len(self.clips)} of {self.expected_clips} clips that the metadata lists were evaluated"
        )
        return "\n".join(lines)

    @staticmethod
    def is_saved(folder: Path) -> bool:
        """Whether `save` wrote here."""
        return all((folder / name).is_file() for name in ("clips.parquet", "summary.json"))

    @classmethod
    def load(cls, folder: Path) -> "Evaluation":
        """What `save` wrote."""
        import pyarrow.parquet as pq

        document = json.loads((folder / "summary.json").read_text())
        clips = [ClipScore(**row) for row in pq.read_table(folder / "clips.parquet").to_pylist()]
        return cls(partition=document["partition"], clips=clips, expected_clips=document["expected_clips"])

    def save(self, folder: Path) -> None:
        """Write clips.parquet (one row a clip) and summary.json, each whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "clips.parquet") as partial:
            pq.write_table(pa.Table.from_pylist([asdict(clip) for clip in self.clips]), partial)
        document = {
            "partition": self.partition,
            "clips": len(self.clips),
            "expected_clips": self.expected_clips,
            **self.summary(),
        }
        with atomic_path(folder / "summary.json") as partial:
            partial.write_text(json.dumps(document, indent=2) + "\n")


def evaluate(
    model: str,
    dataset: Location,
    *,
    partition: str = "test",
    workers: int | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Score a model on every clip of a partition, one Ray actor a CPU (or GPU), with progress by clip.

    Raises DatasetError when the partition has no clips or the model is of another image size.
    """
    opened = PairDataset(dataset, partition)
    # Resolved here, once: an actor may run on another machine, in another folder.
    model_path = local_model(model)
    size = read_model(model_path).config.image_size
    if size != opened.size:
        raise DatasetError(
            f"{dataset}: clips are {opened.size} px, the model {model} needs {size} px: prepare the clips anew with "
            f"--prepare.size {size}"
        )
    with connected(verbose=verbose) as resources:
        rows = _scored(model_path, opened, workers or resources.gpus or resources.cpus, resources)
        scores = sorted(map(_require_score, rows), key=lambda clip: clip.clip_id)
    return Evaluation(partition=partition, clips=scores, expected_clips=len(opened) + opened.failed)


def _scored(model: Path, opened: PairDataset, workers: int, resources: Resources) -> Iterator[dict[str, Any]]:
    import ray.data

    from pipelines.preparation.distribute import quiet_ray_data

    with quiet_ray_data():
        # Items rather than a range: reading a range takes a core of its own, and the actors hold them all.
        clips = ray.data.from_items(
            [{"clip": clip} for clip in range(len(opened))], override_num_blocks=len(opened)
        )
        scored = clips.map_batches(
            ClipScorer,
            batch_size=1,
            fn_constructor_args=(str(model), str(opened.root.absolute()), opened.partition),
            compute=ray.data.ActorPoolStrategy(size=min(len(opened), workers)),
            num_gpus=1 if resources.gpus else None,
            num_cpus=None if resources.gpus else 1,
        )
        yield from tqdm(scored.iter_rows(), total=len(opened), desc="evaluate", unit="clip")


class ClipScorer:
    """A Ray Data actor: holds a model, scores clips by index."""

    def __init__(self, model: str, dataset: str, partition: str) -> None:
        torch.set_num_threads(1)
        self.generator = load_model(model)
        self.dataset = PairDataset(dataset, partition)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[str]]:
        return {"score": [self._score(int(clip)) for clip in batch["clip"]]}

    def _score(self, clip: int) -> str:
        """A ClipScore as JSON. Errors are told, not raised: Ray Data would hide them in a text of its own."""
        try:
            return json.dumps(asdict(score_clip(self.generator, self.dataset, clip)))
        except DatasetError as error:
            return json.dumps({"unusable": str(error)})
        except StorageError as error:
            return json.dumps({"failed": str(error)})


def _require_score(row: dict[str, Any]) -> ClipScore:
    score = json.loads(row["score"])
    if "unusable" in score:
        raise DatasetError(score["unusable"])
    if "failed" in score:
        raise StorageError(score["failed"])
    return ClipScore(**score)


def score_clip(generator: Generator, dataset: PairDataset, clip: int) -> ClipScore:
    """Reconstruct every frame of a clip from its first and compare; memory does not grow with the clip."""
    device = next(generator.parameters()).device

    def truth() -> Iterator[Tensor]:
        for frame in dataset.clip(clip):
            yield to_float(torch.from_numpy(frame)).to(device)

    source = next(truth())[None]
    made = animate(generator, source, truth(), "absolute", BATCH)
    sums: dict[str, float] = dict.fromkeys(
        [prefix + name for prefix in ("", "baseline_") for name in METRICS], 0.0
    )
    frames, n_frames = truth(), 0
    while batch := list(islice(frames, BATCH)):
        target = torch.stack(batch)
        n_frames += len(batch)
        image = torch.stack(list(islice(made, len(batch))))
        _add_scores(sums, "", image, target)
        _add_scores(sums, "baseline_", source.expand_as(target), target)
    means = {name: total / n_frames for name, total in sums.items()}
    return ClipScore(clip_id=dataset.info(clip).clip_id, n_frames=n_frames, **means)


def _add_scores(sums: dict[str, float], prefix: str, image: Tensor, target: Tensor) -> None:
    for name, metric in METRICS.items():
        values = metric(image, target)
        if name == "psnr":
            values = values.clamp(max=PSNR_CAP_DB)
        sums[prefix + name] += float(values.double().sum())


def compare(evaluation: Evaluation) -> Sequence[tuple[str, float, float]]:
    """(metric, model, baseline) for reports."""
    return [(name, evaluation.mean(name), evaluation.mean(f"baseline_{name}")) for name in METRICS]
