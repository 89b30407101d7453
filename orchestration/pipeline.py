"""The whole way from raw video to a registered model; each step is skipped when its inputs are unchanged.

    OUT/dataset-KEY/     shards, unless they go elsewhere; KEY is a digest of the clip table and of how it is prepared
        inspect.html     what is in them, on one page
    OUT/run-KEY/         one training run; KEY is a digest of the experiment, the dataset and the initial model; in it:
        evaluation/      the held-out table, one row a clip
        pictures/        contact-sheet.png, directions.png, animation.mp4
        report.html      all of it on one page
        model-card.*     what the model is, how it scores, what it is for and where it fails
        registered.json  the model's version in the registry

Another configuration or other metadata means other folders, so nothing is overwritten and going back is free.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from orchestration.cluster import Resources, connected, cpus_of, worker_share
from orchestration.dataset_page import write_dataset_page
from orchestration.errors import WorkFailedError
from orchestration.evaluation.evaluate import evaluate
from orchestration.evaluation.score_table import ScoreTable
from orchestration.evaluation.scores import CLIPS, EVALUATION, SUMMARY, Evaluation
from orchestration.experiment import Experiment
from orchestration.pictures import Pictures, draw_pictures
from orchestration.registration import (
    SCORES,
    Registration,
    register_run,
    registered_version,
    score_tags,
    telling_what_is_made,
)
from orchestration.reproduction import how_to_repeat
from orchestration.run_documents import CARD_PAGE, REPORT, write_documents
from orchestration.streaming import Preparing, shares_beside_preparation
from orchestration.training import recorded_training
from orchestration.training.initial_model import InitialModel, read_initial_model
from orchestration.training.run_folder import RunFolder
from orchestration.training.train import Placement
from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import PARTITIONS
from pipelines.corpus.metadata import Metadata
from pipelines.dataset.clip_index import count_failures
from pipelines.dataset.editions import digest_of
from pipelines.errors import InputError
from pipelines.preparation.dataset_folder import INSPECTION
from pipelines.preparation.editions import Announce
from pipelines.preparation.plan import plan_digest
from pipelines.preparation.prepare import prepare
from pipelines.storage.location import DATASET, Location
from pipelines.storage.new_folder import require_makeable
from tracking.registry import find, tag_version
from tracking.run import Run
from tracking.store import page_command

KEY_LENGTH = 12
WaitFor = Literal["all", "first"]
"""Which shards training waits for."""
AGAIN = "the same `lia run`"
RECORDED = "evaluation.json"
"""In a run's folder: which evaluation its record in MLflow is of."""


class NothingPrepared(WorkFailedError):
    """Every clip failed, so there is nothing to train on."""


@dataclass(frozen=True, kw_only=True)
class PipelineResult:
    """What a finished pipeline leaves."""

    dataset: Location
    page: Path
    """The dataset's."""
    run: RunFolder
    evaluation: Evaluation
    pictures: Pictures
    registration: Registration
    """The model's version in the registry."""
    tracking_uri: str

    def closing_words(self) -> str:
        """The table, where everything is, and how to look at it."""
        return "\n".join(
            [
                "",
                ScoreTable.of(self.evaluation).text(),
                "",
                f"dataset          {self.dataset}",
                f"dataset's page   {self.page}",
                f"contact sheet    {self.pictures.contact_sheet}",
                f"directions       {self.pictures.directions}",
                f"animation        {self.pictures.animation}",
                f"report           {self.run.path / REPORT}",
                f"model card       {self.run.path / CARD_PAGE}",
                f"model            {self.run.model}, registered as {self.registration.words()}",
                "",
                "To see the run, its curves and the model in MLflow:",
                f"  {page_command(self.tracking_uri)}",
                *how_to_repeat(self.run.record().provenance),
            ]
        )


def run_pipeline(
    experiment: Experiment,
    metadata: Metadata,
    videos: Path,
    out: Path,
    *,
    shards: Location | None = None,
    vgg: Path | None = None,
    init: str | None = None,
    retry_failed: bool = False,
    max_failure_rate: float | None = None,
    wait_for: WaitFor = "all",
    command: str | None = None,
    verbose: bool = False,
) -> PipelineResult:
    """Prepare, train, evaluate, draw, register. Raises InputError, NothingPrepared or what training raises.

    A run that begins keeps the `command` that repeats it.

    Datasets go below `shards`, which may be on object storage, or below `out` with the rest. Training waits for all of
    a dataset, or begins with the first shards: then its result depends on how fast they come. All that can be known to
    be wrong beforehand is checked before the first step: weights for the loss, the model `init` to begin with, clips
    to test on, and machines to train on.
    """
    require_makeable(out)
    recorded_training.perceptual_weights(experiment, vgg)
    initial = read_initial_model(init, experiment) if init else None
    clips = ClipColumns.of(metadata.clips)
    metadata = replace(metadata, clips=clips)
    require_partitions(clips)
    dataset = dataset_place(experiment, clips, out if shards is None else shards)
    page = out / dataset.name / INSPECTION
    steps = Steps(
        prepare=partial(
            prepare_step,
            experiment,
            metadata,
            videos,
            dataset,
            retry_failed=retry_failed,
            max_failure_rate=max_failure_rate,
        ),
        make_page=partial(page_step, clips, dataset, page),
        train=partial(
            train_step,
            experiment,
            dataset,
            out,
            page=page,
            vgg=vgg,
            initial=initial,
            command=command,
            verbose=verbose,
        ),
    )
    # One connection for all steps: starting Ray takes seconds.
    with connected(at_least=experiment.schedule.workers, verbose=verbose) as resources:
        train = train_when_all_is_prepared if wait_for == "all" else train_from_the_first_shards_on
        return judge(train(experiment, resources, steps), dataset, page, verbose=verbose)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps up to a trained model, each given all but what depends on their order."""

    prepare: Callable[..., None]
    make_page: Callable[[], None]
    """Of the dataset, when it is whole."""
    train: Callable[..., RunFolder]


def train_when_all_is_prepared(experiment: Experiment, resources: Resources, steps: Steps) -> RunFolder:
    """One step after the other."""
    share = worker_share(experiment, resources)
    steps.prepare()
    steps.make_page()
    return steps.train(Placement(share=share))


def train_from_the_first_shards_on(experiment: Experiment, resources: Resources, steps: Steps) -> RunFolder:
    """Train while other shards are prepared; the dataset's page is made when all are there."""
    share, leave_cpus = shares_beside_preparation(experiment, resources)
    preparation: Preparing[None] = Preparing()
    with preparation:
        preparation.start(partial(steps.prepare, leave_cpus=leave_cpus))
        if whole := preparation.await_first():
            steps.make_page()  # which says so where there is nothing to train on
        folder = steps.train(Placement(share=share), beside=preparation)
        preparation.result()
    if not whole:
        steps.make_page()
    return folder


def judge(folder: RunFolder, dataset: Location, page: Path, *, verbose: bool) -> PipelineResult:
    """Evaluate, draw and register what was trained."""
    with telling_what_is_made(folder, AGAIN):
        log_page(folder, page)
        evaluation = evaluate_step(folder, dataset, verbose=verbose)
        pictures = draw_pictures(folder, dataset)
        registration = register_step(folder, evaluation, pictures)
    return PipelineResult(
        dataset=dataset,
        page=page,
        run=folder,
        evaluation=evaluation,
        pictures=pictures,
        registration=registration,
        tracking_uri=folder.record().tracking_uri,
    )


def require_partitions(clips: ClipColumns) -> None:
    """Refuse a clip table without training or without test clips: a run would end with a model nobody can judge."""
    listed = clips.distinct("partition")
    for partition in ("train", "test"):
        if partition not in listed:
            raise InputError(
                f"there are no {partition} clips: set partition = {partition} in some of the metadata's rows, or put "
                f"some clips of a folder below {partition}/"
            )


def dataset_place(experiment: Experiment, clips: ClipColumns, shards: Location) -> Location:
    """The folder of the dataset, below `shards`."""
    return shards / f"{DATASET}{plan_digest(clips.digest, experiment.prepare)[:KEY_LENGTH]}"


def prepare_step(
    experiment: Experiment,
    metadata: Metadata,
    videos: Path,
    dataset: Location,
    announce: Announce | None = None,
    *,
    retry_failed: bool = False,
    max_failure_rate: float | None = None,
    leave_cpus: int = 0,
) -> None:
    """Cut the clips into a dataset; the last four are those of `prepare`."""
    summary = prepare(
        metadata,
        experiment.prepare,
        videos,
        dataset,
        retry_failed=retry_failed,
        max_failure_rate=max_failure_rate,
        progress=announce is None,  # else the line is the training's
        announce=announce,
        leave_cpus=leave_cpus,
    )
    tqdm.write(summary.report())
    sys.stdout.flush()


def page_step(clips: ClipColumns, dataset: Location, page: Path) -> None:
    """Write the dataset's page. Raises NothingPrepared where that shows nothing to train on, or to test on."""
    page.parent.mkdir(parents=True, exist_ok=True)
    write_dataset_page(dataset, page)
    partitions = clips.column("partition").to_pylist()
    failures = {partition: count_failures(dataset, partition) for partition in PARTITIONS}
    if sum(failures.values()) == len(partitions):
        raise NothingPrepared(
            f"{dataset}: all {len(partitions)} clips failed; failures.parquet there says why"
        )
    for partition in PARTITIONS:
        listed = partitions.count(partition)
        if failures[partition] == listed:
            raise NothingPrepared(
                f"{dataset}: all {listed} {partition} clips failed; failures.parquet there says why"
            )


def train_step(
    experiment: Experiment,
    dataset: Location,
    out: Path,
    placement: Placement,
    *,
    page: Path,
    beside: Preparing[None] | None = None,
    vgg: Path | None,
    initial: InitialModel | None,
    command: str | None = None,
    verbose: bool,
) -> RunFolder:
    """Train, go on training, or find that the same training is over; returns the run's folder.

    The dataset's page is kept with a run that begins, where it is there by then.
    A preparation that goes on `beside` ends the training where it fails, which is then raised.
    """
    digest = digest_of(dataset, grows=beside is not None)
    weights = recorded_training.perceptual_weights(experiment, vgg)
    inputs = [experiment.content(), digest, weights.sha256 if weights else None]
    folder = RunFolder(out / f"run-{_key(*inputs, *([initial.digest] if initial else []))}")
    if folder.finished_step() is not None:
        print(f"train: unchanged, {folder.model} is kept", flush=True)
        return folder
    if not folder.exists():
        recorded_training.begin(
            experiment,
            dataset,
            folder,
            vgg=vgg,
            initial=initial,
            command=command,
            worker_cpus=cpus_of(placement.share),
            grows=beside is not None,
        )
        if page.is_file():
            log_page(folder, page)
    _, record = folder.open()
    # Before the work, too: whoever finds a job that died in its log finds how to do it again.
    for line in how_to_repeat(record.provenance):
        print(line, flush=True)
    with telling_what_is_made(folder, AGAIN):
        trained = recorded_training.go_on(
            folder,
            verbose=verbose,
            placement=placement,
            proceed=beside.going_well if beside else lambda: True,
        )
        if beside and not trained.complete:
            beside.result()  # raises what ended both
        trained.run.end()
    return folder


def log_page(folder: RunFolder, page: Path) -> None:
    """Keep the dataset's page with the run, unless it is there."""
    run = _record(folder)
    if not run.list_artifacts("dataset"):
        run.log_file(page, "dataset")


def evaluate_step(folder: RunFolder, dataset: Location, *, verbose: bool) -> Evaluation:
    """Score the model on the test clips and record the scores, unless these scores are there already."""
    evaluation = evaluate(
        str(folder.model), dataset, out=folder.path / EVALUATION, drop_others=True, verbose=verbose
    )
    if folder.read_json(RECORDED) != _recorded(evaluation):
        record_evaluation(folder, evaluation)
    return evaluation


def record_evaluation(folder: RunFolder, evaluation: Evaluation) -> None:
    """Keep an evaluation that was saved in the run's folder with its run in MLflow, and with its registered version.

    A report of the scores before is deleted: `write_documents` writes it anew.
    """
    run = _record(folder)
    scores = evaluation.summary()
    run.log_metrics(
        {f"eval/{name}": value for name, value in scores.items()}, step=folder.finished_step() or 0
    )
    run.flush()
    for name in (CLIPS, SUMMARY):
        run.log_file(folder.path / EVALUATION / name, EVALUATION)
    if registered := registered_version(folder):
        _, record = folder.open()
        version = find(registered, tracking_uri=record.tracking_uri)
        if version.run_id and version.run_id != run.run_id:  # where the same weights were first trained
            first = Run.attach(version.run_id, tracking_uri=record.tracking_uri)
            for name in (CLIPS, SUMMARY):
                first.log_file(folder.path / EVALUATION / name, EVALUATION)
        # What an earlier evaluation measured, and this one did not, would stand beside scores of other clips.
        old = {name: None for name in version.tags if name.startswith(SCORES)}
        tag_version(version, {**old, **score_tags(evaluation)}, tracking_uri=record.tracking_uri)
    (folder.path / REPORT).unlink(missing_ok=True)
    folder.write_json(RECORDED, _recorded(evaluation))


def record_again(folder: RunFolder, evaluation: Evaluation) -> None:
    """Record an evaluation that was asked for after training, and write what tells of the run anew."""
    record_evaluation(folder, evaluation)
    write_documents(folder, _record(folder), evaluation)


def _recorded(evaluation: Evaluation) -> dict[str, Any]:
    """By which it is known whether this very evaluation was recorded."""
    return {**evaluation.inputs.to_dict(), "failures": dict(evaluation.failures)}


def register_step(folder: RunFolder, evaluation: Evaluation, pictures: Pictures) -> Registration:
    """Log the report, register the model unless it is registered already."""
    registered = registered_version(folder)
    if registered and (folder.path / REPORT).is_file():
        print(f"register: unchanged, {registered} is kept", flush=True)
        return Registration(registered, first=False)
    run = _record(folder)
    run.log_folder(pictures.folder, "pictures")
    registration = register_run(folder, run, evaluation=evaluation, example=pictures.example)
    write_documents(folder, run, evaluation)
    return registration


def _record(folder: RunFolder) -> Run:
    """The run in MLflow, which training has ended."""
    _, record = folder.open()
    return Run.attach(record.run_id, tracking_uri=record.tracking_uri)


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]
