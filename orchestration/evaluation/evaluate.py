"""The reconstruction protocol as a Ray Data job: each clip's first frame drives to every frame of the clip.

Source = frame 0, driving = every frame, frame 0 included, absolute motion. Scores are averaged over a clip's frames,
then over clips (FOMM averages over all frames alike). Beside the model stands the baseline that copies the source:
what the numbers would be if nothing moved.
"""

# T frames
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lia_model import metrics
from lia_model.animation import animate
from lia_model.generator import Generator
from lia_model.pixels import to_float
from orchestration.cluster import Resources, connected
from orchestration.evaluation.scores import BASELINE, ClipScore, Evaluation
from orchestration.evaluation.unfinished import open_unfinished
from orchestration.models import load_model, local_model, model_digest, read_model
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.storage.location import Location

_MEASURED = {"l1": metrics.l1, "psnr": metrics.psnr, "ssim": metrics.ssim}
BATCH = 16
# Frame 0 is copied exactly: a PSNR that is not capped would be infinite.
PSNR_CAP_DB = 100.0


def evaluate(
    model: str,
    dataset: Location,
    *,
    out: Path | None = None,
    partition: str = "test",
    workers: int | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Score a model on every clip of a partition, one Ray actor a CPU (or GPU), with progress by clip.

    With `out`, the result is saved there, and what an interrupted evaluation scored there is gone on with.
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
    with tempfile.TemporaryDirectory() as scratch:
        of = {
            "model_digest": model_digest(model_path),
            "dataset_digest": opened.digest,
            "partition": partition,
        }
        with open_unfinished(out or Path(scratch), of) as unfinished:
            if unfinished.scores:
                print(f"evaluate: {len(unfinished.scores)} clips were scored before", flush=True)
            pending = [clip for clip, name in enumerate(opened.clip_ids) if name not in unfinished.scores]
            if pending:
                with connected(verbose=verbose) as resources:
                    rows = _scored(model_path, opened, pending, workers, resources)
                    for row in tqdm(rows, total=len(pending), desc="evaluate", unit="clip"):
                        unfinished.add(_require_score(row))
            scores = [unfinished.scores[name] for name in sorted(opened.clip_ids)]
            found = Evaluation(clips=scores, expected_clips=len(opened) + opened.failed, **of)
            if out:
                found.save(out)
    return found


def _scored(
    model: Path, opened: PairDataset, pending: Sequence[int], workers: int | None, resources: Resources
) -> Iterator[dict[str, Any]]:
    import ray.data

    from pipelines.preparation.distribute import quiet_ray_data

    with quiet_ray_data():
        # Items rather than a range: reading a range takes a core of its own, and the actors hold them all.
        clips = ray.data.from_items([{"clip": clip} for clip in pending], override_num_blocks=len(pending))
        scored = clips.map_batches(
            ClipScorer,
            batch_size=1,
            fn_constructor_args=(str(model), str(opened.root.absolute()), opened.partition),
            compute=ray.data.ActorPoolStrategy(
                size=min(len(pending), workers or resources.gpus or resources.cpus)
            ),
            num_gpus=1 if resources.gpus else None,
            num_cpus=None if resources.gpus else 1,
        )
        yield from scored.iter_rows()


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
    found = ClipScore.from_dict(score)
    if not all(math.isfinite(value) for value in asdict(found).values() if isinstance(value, float)):
        raise InputError(
            f"clip {found.clip_id}: the model's images are no numbers: its weights are damaged or diverged"
        )
    return found


def score_clip(generator: Generator, dataset: PairDataset, clip: int) -> ClipScore:
    """Reconstruct every frame of a clip from its first and compare; memory does not grow with the clip."""
    device = next(generator.parameters()).device

    def truth() -> Iterator[Tensor]:
        for frame in dataset.clip(clip):
            yield to_float(torch.from_numpy(frame)).to(device)

    source = next(truth())[None]
    made = animate(generator, source, truth(), "absolute", BATCH)
    sums: dict[str, float] = dict.fromkeys(
        [prefix + name for prefix in ("", BASELINE) for name in _MEASURED], 0.0
    )
    frames, n_frames = truth(), 0
    while batch := list(islice(frames, BATCH)):
        target = torch.stack(batch)
        n_frames += len(batch)
        image = torch.stack(list(islice(made, len(batch))))
        _add_scores(sums, "", image, target)
        _add_scores(sums, BASELINE, source.expand_as(target), target)
    means = {name: total / n_frames for name, total in sums.items()}
    return ClipScore(clip_id=dataset.info(clip).clip_id, n_frames=n_frames, **means)


def _add_scores(sums: dict[str, float], prefix: str, image: Tensor, target: Tensor) -> None:
    for name, metric in _MEASURED.items():
        values = metric(image, target)
        if name == "psnr":
            values = values.clamp(max=PSNR_CAP_DB)
        sums[prefix + name] += float(values.double().sum())
