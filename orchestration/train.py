"""Training under Ray Train: one worker a rank, DistributedDataParallel, checkpoints that Ray keeps."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer
from tqdm import tqdm

from lia_model.weights import load_generator, save_generator
from orchestration import configuration
from orchestration.checkpoints import newest_sound_checkpoint, remove_old_checkpoints
from orchestration.cluster import connected, worker_share
from orchestration.errors import WorkFailedError, last_line, root_cause
from orchestration.experiment import Experiment
from orchestration.message_board import watched
from orchestration.ray_rank import TrainingJob, train_worker
from orchestration.run_folder import RunFolder, RunRecord
from orchestration.training_loop import Record
from orchestration.training_state import Origin
from orchestration.training_step import TrainingDiverged
from pipelines.errors import InputError

MAX_WORKER_FAILURES = 10


class TrainingFailed(WorkFailedError):
    """Training ended without reaching its last step."""


def train(
    experiment: Experiment,
    folder: RunFolder,
    record: RunRecord,
    *,
    stop_after: int | None = None,
    verbose: bool = False,
) -> int:
    """Train, or go on training, the run in `folder`; blocks until the last step and returns its number.

    Goes on from the newest sound checkpoint in the folder. The trained generator ends up in `folder.model`.
    Raises TrainingDiverged or TrainingFailed.
    """
    out = folder.path.absolute()
    start = newest_sound_checkpoint(out / "training")
    with connected(at_least=experiment.schedule.workers, verbose=verbose) as resources:
        share = worker_share(experiment.schedule, resources)
        job = TrainingJob(
            experiment=configuration.to_dict(experiment),
            dataset=record.dataset,
            origin=Origin(dataset_digest=record.dataset_digest, provenance=record.provenance),
            perceptual_weights=record.perceptual_weights,
            tracking_uri=record.tracking_uri,
            run_id=record.run_id,
            threads=None if share.get("GPU") else int(share["CPU"]),
            resume_from=str(start) if start else None,
            stop_after=stop_after,
        )
        with _progress_line(experiment) as show, watched(show) as board:
            trainer = TorchTrainer(
                train_worker,  # type: ignore[arg-type]  # Ray keeps what rank 0 returns
                train_loop_config={"job": job, "board": board},
                scaling_config=ray.train.ScalingConfig(
                    num_workers=experiment.schedule.workers,
                    use_gpu="GPU" in share,
                    resources_per_worker=share,
                ),
                run_config=ray.train.RunConfig(
                    name="training",
                    storage_path=str(out),
                    failure_config=ray.train.FailureConfig(max_failures=MAX_WORKER_FAILURES),
                    checkpoint_config=ray.train.CheckpointConfig(
                        num_to_keep=experiment.schedule.keep_checkpoints
                    ),
                ),
            )
            try:
                with interruptible():
                    result = trainer.fit()
            except ray.train.TrainingFailedError as error:
                raise TrainingFailed(f"{out}: training failed: {last_line(root_cause(error))}") from error
    step = _finish(result, folder, start)
    remove_old_checkpoints(out / "training", experiment.schedule.keep_checkpoints)
    return step


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C in the block be a KeyboardInterrupt, and afterwards what it was before.

    Ray Train installs a handler that stops its workers and leaves with sys.exit(0), and never removes it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ray leaves signals alone, too
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, before)


def _finish(result: Any, folder: RunFolder, start: Path | None) -> int:
    outcome = result.return_value or {}
    if "unusable" in outcome:
        raise InputError(outcome["unusable"])
    if "diverged" in outcome:
        raise TrainingDiverged(f"{folder.path}: {outcome['diverged']}")
    # Ray has none where there was nothing left to do.
    with result.checkpoint.as_directory() if result.checkpoint else nullcontext(start) as checkpoint:
        if checkpoint is None:
            raise TrainingFailed(
                f"{folder.path}: training ended without a checkpoint; Ray's records are in training/"
            )
        generator = load_generator(Path(checkpoint) / "generator")
    save_generator(folder.model, generator)
    return int(outcome["step"])


@contextmanager
def _progress_line(experiment: Experiment) -> Iterator[Callable[[Record | str], None]]:
    """A line on the terminal that names step, speed, time left and the losses by term."""
    # tqdm would reckon speed and time left from the moment it was made, long before the workers are up.
    form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
    with tqdm(total=experiment.schedule.steps, desc="train", bar_format=form) as line:
        line.set_postfix_str("starting workers")

        def show(record: Record | str) -> None:
            if isinstance(record, str):
                line.write(record, file=sys.stderr)
                return
            line.n = record.step
            line.set_postfix_str(describe(record, experiment.schedule.batch_size))

        yield show


def describe(record: Record, batch_size: int) -> str:
    """Speed, time left and losses, for the progress line."""
    left = (record.steps - record.step) * batch_size / record.pairs_per_second
    losses = ", ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
    return (
        f"{timedelta(seconds=round(left))} left, {record.pairs_per_second:.1f} pairs/s, "
        f"{record.data_wait:.1%} waiting for data, {losses}"
    )
