"""Scoring a model on held-out clips as a Ray Data job.

Reconstruction: source = frame 0, driving = every frame of the same clip, frame 0 included, absolute motion; beside the
model stands the baseline that copies the source: what the numbers would be if nothing moved. Transfer: see `transfer`.
Scores are averaged over a clip's frames, then over clips (FOMM averages over all frames alike).
"""

import hashlib
import json
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from orchestration.cluster import Resources, connected
from orchestration.evaluation.instruments import choose, read_weights, too_few, unpinned_digests
from orchestration.evaluation.metrics import Group, Protocol
from orchestration.evaluation.scorer import ClipScorer, NoNumbersError, pair_name
from orchestration.evaluation.scores import Evaluation
from orchestration.evaluation.transfer import TransferPair, transfer_pairs
from orchestration.evaluation.unfinished import open_unfinished
from orchestration.models import local_model, model_digest, read_model
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.storage.location import Location


def evaluate(
    model: str,
    dataset: Location,
    *,
    out: Path | None = None,
    partition: str = "test",
    protocol: Protocol = "reconstruction",
    measure: Sequence[Group] | None = None,
    drop_others: bool = False,
    workers: int | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Score a model on every clip of a partition, one Ray actor a CPU (or GPU), with progress by clip.

    `measure` says what is compared; None what goes with the dataset's name and has its weights. With `out`, the result
    is saved there, and what an interrupted evaluation scored there is gone on with; one of other things is refused, or
    dropped with `drop_others`. Raises DatasetError when the
    partition has no clips or the model is of another image size, InputError when what `measure` asks for is absent.
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
    if out and not drop_others:
        _refuse_others(out, protocol, opened.digest)
    groups, absent = choose(measure, opened.name, protocol)
    if protocol == "reconstruction":
        pairs = [TransferPair(clip, clip) for clip in range(len(opened))]
    else:
        pairs = transfer_pairs(opened)
    of = {
        "model_digest": model_digest(model_path),
        "dataset_digest": opened.digest,
        "partition": partition,
    }
    names = [pair_name(opened, pair) for pair in pairs]
    measured = {
        "protocol": protocol,
        "measured": " ".join(groups),
        "pairs": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }
    networks = unpinned_digests(groups)
    with (
        tempfile.TemporaryDirectory() as scratch,
        open_unfinished(
            out or Path(scratch), of | measured | networks, drop_others=drop_others
        ) as unfinished,
    ):
        if unfinished.scores:
            print(f"evaluate: {len(unfinished.scores)} clips were scored before", flush=True)
        pending = [pair for pair, name in zip(pairs, names, strict=True) if name not in unfinished.scores]
        if pending:
            with connected(verbose=verbose) as resources:
                rows = _scored(model_path, opened, protocol, pending, groups, workers, resources)
                # Closed, or the tasks would go on for as long as an error raised here is remembered.
                with closing(rows):
                    for row in tqdm(rows, total=len(pending), desc="evaluate", unit="clip"):
                        unfinished.add(_require_score(row))
        sets = unfinished.sets.distances()
        found = Evaluation(
            clips=[unfinished.scores[name] for name in sorted(names)],
            expected_clips=len(opened) + opened.failed,
            protocol=protocol,
            dataset=opened.name,
            sets=sets,
            networks=networks,
            absent=absent | too_few(groups, sets),
            **of,
        )
        if out:
            found.save(out)
    return found


def _refuse_others(out: Path, protocol: Protocol, dataset_digest: str) -> None:
    """InputError if the folder holds an evaluation that this one would overwrite and that is not its like."""
    if Evaluation.is_saved(out):
        there = Evaluation.load(out)
        if (there.protocol, there.dataset_digest) != (protocol, dataset_digest):
            raise InputError(
                f"{out}: holds an evaluation by {there.protocol} on dataset {there.dataset_digest[:12]}. Name another "
                "folder, or delete it."
            )


def _scored(
    model: Path,
    opened: PairDataset,
    protocol: Protocol,
    pending: Sequence[TransferPair],
    groups: Sequence[Group],
    workers: int | None,
    resources: Resources,
) -> Generator[dict[str, Any], None, None]:
    import ray
    import ray.data

    from pipelines.preparation.distribute import quiet_ray_data

    weights = ray.put(read_weights(groups))
    with quiet_ray_data():
        # Items rather than a range: reading a range takes a core of its own, and the actors hold them all.
        items = [{"source": pair.source, "driving": pair.driving} for pair in pending]
        clips = ray.data.from_items(items, override_num_blocks=len(pending))
        scored = clips.map_batches(
            ClipScorer,
            batch_size=1,
            fn_constructor_args=(
                *(str(model), str(opened.root.absolute()), opened.partition),
                *(protocol, groups, [weights]),
            ),
            compute=ray.data.ActorPoolStrategy(
                size=min(len(pending), workers or resources.gpus or resources.cpus)
            ),
            num_gpus=1 if resources.gpus else None,
            num_cpus=None if resources.gpus else 1,
        )
        yield from scored.iter_rows()


def _require_score(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a clip; raises what kept it from being scored."""
    score: dict[str, Any] = json.loads(row["score"])
    if "unusable" in score:
        raise DatasetError(score["unusable"])
    if "failed" in score:
        raise StorageError(score["failed"])
    if "no_numbers" in score:
        raise NoNumbersError(score["no_numbers"])
    return score
