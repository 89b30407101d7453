"""Training under Ray Train: one worker a rank, DistributedDataParallel, restarts from the run's own checkpoints."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer
from tqdm import tqdm

from lia_model.weights import load_generator, save_generator
from orchestration import configuration
from orchestration.cluster import connected, worker_share
from orchestration.errors import Terminated, WorkFailedError, last_line, root_cause
from orchestration.experiment import Experiment
from orchestration.training.checkpoint import Origin, model_folder
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.elasticity import SavesBeforeResize, elastic_scaling
from orchestration.training.loop import Record
from orchestration.training.message_board import Board, LocalBoard, watched
from orchestration.training.ray_rank import Grown, Message, TrainingJob, Validated, train_worker
from orchestration.training.records import Records
from orchestration.training.reserved_places import NotesPlaces, free_places
from orchestration.training.run_folder import RunFolder, RunRecord
from orchestration.training.step import TrainingDiverged
from orchestration.training.worker_watch import WorkerWatch
from pipelines.errors import InputError, StorageError

MAX_WORKER_FAILURES = 10
"""Failures after which Ray gives up; training is then begun anew if there is a newer checkpoint than when it began."""


Watch = Callable[[Message], bool]
"""Is told what workers say, in order; False asks them to end after the step that they are at, with a checkpoint."""


class TrainingFailed(WorkFailedError):
    """Training ended without reaching its last step."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a run's workers are, for one that has not the whole cluster to itself."""

    share: Mapping[str, float]
    """What each worker asks Ray for; see `worker_share`."""
    here: bool = False
    """Whether the only worker is this process, which has that share already: nothing has to be started."""


def train(
    experiment: Experiment,
    folder: RunFolder,
    record: RunRecord,
    records: Records,
    *,
    stop_after: int | None = None,
    verbose: bool = False,
    placement: Placement | None = None,
    watch: Watch | None = None,
    proceed: Callable[[], bool] = lambda: True,
) -> int:
    """Train, or go on training, the run in `folder`; blocks until the last step and returns its number.

    Goes on from the newest sound checkpoint in the folder. The trained generator ends up in `folder.model`. Workers are
    spread over the whole cluster, unless `placement` says otherwise. What they tell goes to `records` and then to
    `watch`, which replaces the progress line. When `proceed` says no, training is asked to end after the step in hand,
    with a checkpoint.
    Raises TrainingDiverged or TrainingFailed, and InputError or StorageError where checkpoints, data or weights cannot
    be used. On SIGTERM or Ctrl-C saves a checkpoint after the step in hand, then raises Terminated or
    KeyboardInterrupt; a second one, or one that comes while no worker is at work, does not wait for that.
    """
    checkpoints = CheckpointStore(folder.checkpoints.absolute())
    checkpoints.newest_sound()
    for message in checkpoints.set_aside:
        print(message, file=sys.stderr, flush=True)
    schedule = experiment.schedule
    with connected(at_least=schedule.workers, verbose=verbose) as resources, ExitStack() as stack:
        placement = placement or Placement(share=worker_share(experiment, resources))
        if watch is None:
            watch = stack.enter_context(_progress_line(experiment))
        told = watch
        board = stack.enter_context(
            _board(lambda message: told(message) and proceed(), records, here=placement.here)
        )
        trainer = _trainer(experiment, folder, record, placement, board, stop_after)
        with (
            WorkerWatch(board, schedule.workers) as workers,
            stopping_on_signals(board.stop, idle=workers.idle) as received,
        ):
            result = fit_while_it_advances(
                trainer, folder.path, checkpoints, free=lambda: free_places(board.reserved())
            )
    step = _finish(result, folder, checkpoints)
    if received and step < schedule.steps:
        print(f"{folder.path}: checkpoint of step {step} saved", file=sys.stderr, flush=True)
        raise Terminated if received[0] == signal.SIGTERM else KeyboardInterrupt
    return step


@contextmanager
def _board(watch: Watch, records: Records, *, here: bool) -> Iterator[Board]:
    """A board whose messages go to `records` and to `watch`, which may ask for an end."""

    def show(message: Message) -> None:
        records.take(message)
        if not watch(message):
            board.stop()

    if here:
        board: Board = LocalBoard(show, records.settle)
        yield board
        return
    with watched(show, settle=records.settle) as board:
        yield board


def _trainer(
    experiment: Experiment,
    folder: RunFolder,
    record: RunRecord,
    placement: Placement,
    board: Board,
    stop_after: int | None,
) -> Callable[[], Any]:
    """What fits the run once, from its newest checkpoint on."""
    schedule, share = experiment.schedule, dict(placement.share)
    job = TrainingJob(
        experiment=configuration.to_dict(experiment),
        dataset=record.dataset,
        origin=Origin(dataset_digest=record.dataset_digest, provenance=record.provenance),
        perceptual_weights=record.perceptual_weights,
        threads=None if share.get("GPU") else int(share["CPU"]),
        checkpoints=str(folder.checkpoints.absolute()),
        initial=str(folder.initial.absolute()) if record.initial else None,
        stop_after=stop_after,
        grows=record.grows,
    )
    workers = (schedule.min_workers, schedule.workers) if schedule.elastic else schedule.workers
    scaling = ray.train.ScalingConfig(
        num_workers=0 if placement.here else workers,  # type: ignore[arg-type]  # Ray's wrapper says less than its docs
        use_gpu="GPU" in share,
        resources_per_worker=share,
    )
    settings = ray.train.RunConfig(
        name="ray",
        storage_path=str(folder.path.absolute()),
        failure_config=ray.train.FailureConfig(max_failures=MAX_WORKER_FAILURES),
        callbacks=[_Failures(board), SavesBeforeResize(board), NotesPlaces(board)],  # type: ignore[list-item]  # Ray takes both kinds
    )

    def fit() -> Any:
        loop = {"job": job, "board": board}
        # Ray keeps what rank 0 returns.
        worker: Any = train_worker
        return _Trainer(worker, train_loop_config=loop, scaling_config=scaling, run_config=settings).fit()

    return fit


class _Trainer(TorchTrainer):
    """TorchTrainer that leaves Ctrl-C to us, as its own handler stops the workers and leaves with status 0.

    Elastic training goes by the project's policy.
    """

    def _register_sigint_handler(self, *_: object) -> None:
        pass

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        scaling: Any = self.scaling_config  # Ray's annotations are still those of an earlier version
        if scaling.elasticity_enabled:
            parts["scaling_policy"] = elastic_scaling(scaling)
        above: Any = super()
        return above._initialize_and_run_controller(**parts)


class _Failures(ray.train.UserCallback):
    """Tells whoever watches that workers failed: Ray starts them again without a word."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        with suppress(ray.exceptions.RayError):  # the board was lost: nobody watches
            self.board.end_work()
            if self.board.why_give_up() is None:
                self.board.post(describe_failure(worker_exceptions))


def describe_failure(by_rank: Mapping[int, BaseException]) -> str:
    """One line that names the worker whose failure brought the others down, as far as that can be told."""
    causes = {
        rank: getattr(error, "health_check_failure", None) or root_cause(error)
        for rank, error in by_rank.items()
    }
    # When a worker dies, the others fail in turn, as they hear nothing of it any more.
    died = [rank for rank, cause in causes.items() if isinstance(cause, ray.exceptions.RayActorError)]
    rank = min(died or causes)
    # Of a process that is gone Ray has nothing to tell but advice on finding out, a screen of it.
    reason = "its process ended, or its machine" if died else last_line(causes[rank])
    return f"worker {rank} failed ({reason}); starting the workers again from the newest checkpoint"


def fit_while_it_advances(
    fit: Callable[[], Any], folder: Path, checkpoints: CheckpointStore, free: Callable[[], None]
) -> Any:
    """What `fit` returns; calls it again after a failure as long as each call leaves a newer checkpoint.

    Between two calls `free` gives back what the first left reserved.
    A long training on many machines meets more failures than any limit; one that cannot go on makes no checkpoint.
    Raises TrainingFailed.
    """
    while True:
        before = checkpoints.steps()[-1:]
        try:
            return fit()
        except (ray.train.TrainingFailedError, ray.exceptions.RayActorError) as error:
            if checkpoints.steps()[-1:] <= before:
                raise TrainingFailed(f"{folder}: training failed: {last_line(root_cause(error))}") from error
            free()


@contextmanager
def stopping_on_signals(
    stop: Callable[[], object], idle: Callable[[], bool] = lambda: False
) -> Iterator[list[int]]:
    """Call `stop` at the first SIGTERM or Ctrl-C in the block, and end it at once at the second, or if it is `idle`.

    Yields the list of signals that came.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread hears of signals
        return

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1 or idle():
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        print(
            "\nstopping after this step, with a checkpoint; once more stops at once",
            file=sys.stderr,
            flush=True,
        )
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    except KeyboardInterrupt:
        if received and received[-1] == signal.SIGTERM:
            raise Terminated from None  # where Ray waits, it makes a plain KeyboardInterrupt of it
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(result: Any, folder: RunFolder, checkpoints: CheckpointStore) -> int:
    outcome = result.return_value or {}
    if "unusable" in outcome:
        raise InputError(outcome["unusable"])
    if "storage" in outcome:
        raise StorageError(outcome["storage"])
    if "diverged" in outcome:
        raise TrainingDiverged(f"{folder.path}: {outcome['diverged']}", int(outcome["step"]))
    step = int(outcome["step"])
    save_generator(folder.model, load_generator(model_folder(checkpoints.path(step))))
    return step


@contextmanager
def _progress_line(experiment: Experiment) -> Iterator[Watch]:
    """A line on the terminal that names step, speed, time left and the losses by term."""
    # tqdm would reckon speed and time left from the moment it was made, long before the workers are up.
    form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
    with tqdm(total=experiment.schedule.steps, desc="train", bar_format=form) as line:
        compiling = ", then compiling for minutes" if experiment.compute.compile else ""
        line.set_postfix_str(f"starting workers{compiling}")

        def show(message: Message) -> bool:
            if isinstance(message, str | Validated | Grown):
                line.write(str(message), file=sys.stderr)
            elif isinstance(message, Record):
                line.n = message.step
                line.set_postfix_str(describe(message, experiment.schedule.batch_size))
            return True

        yield show


def describe(record: Record, batch_size: int) -> str:
    """Speed, time left and losses, for the progress line."""
    left = (record.steps - record.step) * batch_size / record.pairs_per_second
    losses = ", ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
    return (
        f"{timedelta(seconds=round(left))} left, {record.pairs_per_second:.1f} pairs/s, "
        f"{record.data_wait:.1%} waiting for data, {losses}"
    )
