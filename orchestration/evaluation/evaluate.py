"""Scoring a model on held-out clips as a Ray Data job.

Reconstruction: source = frame 0, driving = every frame of the same clip, frame 0 included, absolute motion; beside the
model stands the baseline that copies the source: what the numbers would be if nothing moved. Transfer: see `transfer`.
Scores are averaged over a clip's frames, then over clips (FOMM averages over all frames alike).
"""

import json
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from orchestration.cluster import Node, Resources, connected
from orchestration.errors import WorkFailedError
from orchestration.evaluation.inputs import EvaluationInputs, digest_pairs
from orchestration.evaluation.instruments import choose, read_weights, too_few, unpinned_digests
from orchestration.evaluation.metrics import Group, Protocol
from orchestration.evaluation.scorer import ClipScorer, NoNumbersError, pair_name
from orchestration.evaluation.scores import FAILURE, Evaluation
from orchestration.evaluation.transfer import TransferPair, transfer_pairs
from orchestration.evaluation.unfinished import UnfinishedScores, open_unfinished
from orchestration.models import local_model, model_digest, read_model
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.storage.location import Location

CLIPS_WORTH_A_GPU = 100
"""That a GPU which is not there yet must get to score: a clip takes it a second or two, its machine's start minutes."""


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
    is saved there. What lies there of the same EvaluationInputs is kept: a finished evaluation is returned as it is,
    one that was interrupted or in which clips failed is gone on with. One of other inputs is refused, or replaced with
    `drop_others`.

    A clip whose data are damaged is counted among the result's `failures`. Raises DatasetError when the partition has
    no clips or the model is of another image size, InputError when what `measure` asks for is absent, WorkFailedError
    when every clip failed, StorageError when a server or disk fails, NoNumbersError when the model's images are none.
    """
    opened = PairDataset(dataset, partition)
    # Resolved here, once: an actor may run on another machine, in another folder.
    model_path = local_model(model)
    groups, absent = choose(measure, opened.name, protocol)
    pairs = _pairs(opened, protocol)
    inputs = EvaluationInputs(
        model_digest=model_digest(model_path),
        dataset_digest=opened.digest,
        partition=partition,
        protocol=protocol,
        measured=groups,
        pairs=digest_pairs(pairs),
        networks=unpinned_digests(groups),
    )
    if out and (kept := _kept(out, inputs, drop_others=drop_others)):
        print(f"evaluate: unchanged, the table in {out} is kept", flush=True)
        return kept
    _require_size(model, model_path, dataset, opened)
    with (
        tempfile.TemporaryDirectory() as scratch,
        open_unfinished(out or Path(scratch), inputs, drop_others=drop_others) as unfinished,
    ):
        _score_pending(unfinished, model_path, opened, pairs, inputs, workers=workers, verbose=verbose)
        sets = unfinished.sets.distances()
        found = Evaluation(
            inputs=inputs,
            dataset=opened.name,
            image_size=opened.size,
            clips=[unfinished.scores[name] for name in sorted(unfinished.scores)],
            failures=dict(sorted(unfinished.failures.items())),
            expected_clips=len(opened) + opened.failed,
            sets=sets,
            absent=absent | too_few(groups, sets),
        )
        if out:
            found.save(out)
    return found


def _pairs(opened: PairDataset, protocol: Protocol) -> dict[str, TransferPair]:
    """What drives what, by name."""
    if protocol == "reconstruction":
        pairs = [TransferPair(clip, clip) for clip in range(len(opened))]
    else:
        pairs = transfer_pairs(opened)
    return {pair_name(opened, pair): pair for pair in pairs}


def _kept(out: Path, inputs: EvaluationInputs, *, drop_others: bool) -> Evaluation | None:
    """The finished evaluation in the folder, if it is of these inputs and no clip is to be tried again.

    Raises InputError if it is of other inputs or damaged, unless `drop_others`.
    """
    if not Evaluation.is_saved(out):
        return None
    try:
        there = Evaluation.load(out)
    except InputError:
        if not drop_others:
            raise
        print(f"evaluate: the table in {out} is of another release or damaged: it is replaced", flush=True)
        return None
    if unlike := there.inputs.differences(inputs):
        if not drop_others:
            raise InputError(
                f"{out}: holds an evaluation of other inputs ({unlike}). Name another folder, or delete it."
            )
        print(f"evaluate: the table in {out} is of other inputs ({unlike}): it is replaced", flush=True)
        return None
    return None if there.failures else there


def _require_size(model: str, model_path: Path, dataset: Location, opened: PairDataset) -> None:
    size = read_model(model_path).config.image_size
    if size != opened.size:
        raise DatasetError(
            f"{dataset}: clips are {opened.size} px, the model {model} needs {size} px: prepare the clips anew with "
            f"--prepare.size {size}"
        )


def _score_pending(
    unfinished: UnfinishedScores,
    model_path: Path,
    opened: PairDataset,
    pairs: Mapping[str, TransferPair],
    inputs: EvaluationInputs,
    *,
    workers: int | None,
    verbose: bool,
) -> None:
    """Score what has no score yet. Raises WorkFailedError if there is not one clip with a score then."""
    if unfinished.scores:
        print(f"evaluate: {len(unfinished.scores)} clips were scored before", flush=True)
    pending = [pair for name, pair in pairs.items() if name not in unfinished.scores]
    if not pending:
        return
    with connected(verbose=verbose) as resources:
        rows = _scored(model_path, opened, pending, inputs, workers, resources)
        # Closed, or the tasks would go on for as long as an error raised here is remembered.
        with closing(rows):
            for row in tqdm(rows, total=len(pending), desc="evaluate", unit="clip"):
                score = _require_score(row)
                if FAILURE in score:
                    unfinished.failures[score["clip_id"]] = score[FAILURE]
                else:
                    unfinished.add(score)
    if not unfinished.scores:
        name, why = min(unfinished.failures.items())
        raise WorkFailedError(f"all {len(unfinished.failures)} clips failed; the first: {name}: {why}")


def useful_actors(clips: int, there: Resources, resources: Resources) -> int:
    """How many actors so many clips are worth, on the machines that are `there` and that may come.

    One on each GPU, or else on each CPU. Machines with GPUs are not started for what those that run do sooner.
    """
    if not resources.gpus:
        return resources.cpus
    return max(1, there.gpus, min(resources.gpus, clips // CLIPS_WORTH_A_GPU))


def _scored(
    model: Path,
    opened: PairDataset,
    pending: Sequence[TransferPair],
    inputs: EvaluationInputs,
    workers: int | None,
    resources: Resources,
) -> Generator[dict[str, Any], None, None]:
    import ray
    import ray.data

    from pipelines.placement import await_machine, demand
    from pipelines.preparation.distribute import quiet_ray_data

    there = Resources(tuple(map(Node.of, await_machine("train"))))
    resources = resources.for_work("train")
    if not resources.cpus:  # the machine came later than the connection, and no autoscaler's file told of it
        resources = there
    # Arrays, which actors of one machine read where they lie; bytes would be copied for each.
    files = read_weights(inputs.measured)
    weights = ray.put({name: np.frombuffer(content, np.uint8) for name, content in files.items()})
    with quiet_ray_data():
        # Items rather than a range: reading a range takes a core of its own, and the actors hold them all.
        items = [{"source": pair.source, "driving": pair.driving} for pair in pending]
        clips = ray.data.from_items(items, override_num_blocks=len(pending))
        scored = clips.map_batches(
            ClipScorer,
            batch_size=1,
            fn_constructor_args=(
                *(str(model), str(opened.root.absolute()), opened.partition),
                *(inputs.protocol, inputs.measured, [weights]),
            ),
            compute=ray.data.ActorPoolStrategy(
                size=min(len(pending), workers or useful_actors(len(pending), there, resources))
            ),
            num_gpus=1 if resources.gpus else None,
            num_cpus=None if resources.gpus else 1,
            resources=demand("train"),
        )
        yield from scored.iter_rows()


def _require_score(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a clip, or of its failure; raises what keeps all others from being scored, too."""
    score: dict[str, Any] = json.loads(row["score"])
    if "storage_failed" in score:
        raise StorageError(score["storage_failed"])
    if "no_numbers" in score:
        raise NoNumbersError(score["no_numbers"])
    return score
