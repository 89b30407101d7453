"""The worker's side of training under Ray Train: what one rank runs, and the `Rank` it hands to the loop."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from PIL import Image
from torch import Tensor, nn

from lia_model.generator import Generator
from lia_model.losses import PerceptualLoss
from lia_model.vgg import load_vgg
from lia_model.weights import WeightsError
from orchestration import configuration
from orchestration.errors import last_line
from orchestration.experiment import LossConfig
from orchestration.samples import sample_sheet
from orchestration.training.checkpoint import CheckpointError, DamagedCheckpointError, Origin
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.initial_model import load_initial_model
from orchestration.training.loop import Record, train_rank
from orchestration.training.message_board import Board
from orchestration.training.step import TrainingDiverged
from pipelines.dataset.clip_index import count_clips
from pipelines.dataset.editions import GrowingDataset, open_newest
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.source import DatasetSource, open_source
from pipelines.errors import InputError, StorageError, TransientError

STOP_POLL_S = 0.5
WORD_EVERY_S = 0.25


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What a worker is told. Paths are absolute (the dataset's may be a URI); they mean the same on every node."""

    experiment: dict[str, Any]
    dataset: str
    origin: Origin
    perceptual_weights: str | None
    threads: int | None
    checkpoints: str
    """Folder of the run's checkpoints."""
    initial: str | None
    """Folder of the networks to begin with, of the experiment's sizes."""
    stop_after: int | None
    grows: bool = False
    """Whether the dataset may still be in preparation."""

    @property
    def source(self) -> DatasetSource:
        """Files of the dataset, all of its held-out clips among them."""
        return open_newest(self.dataset) if self.grows else open_source(self.dataset)


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A validation, as the board has it."""

    step: int
    scores: dict[str, float]
    seconds: float
    """Since the worker began to load data and networks."""

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in self.scores.items())
        return f"step {self.step}: held-out {shown}"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample grid, as the board has it."""

    step: int
    sheet: Image.Image


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The end of a worker's training."""

    step: int
    seconds: float
    """Since the worker began to load data and networks; validations and checkpoints included."""


@dataclass(frozen=True, kw_only=True)
class Grown:
    """That the dataset has grown, as the board has it."""

    step: int
    clips: int
    """To train on after that step."""

    def __str__(self) -> str:
        return f"step {self.step}: trains on {self.clips:,} clips from here on"


Message = Record | Validated | Sample | Grown | Trained | str
"""What is on the board: losses, validations, pictures, more data, the end, remarks. The driver records them."""


def train_worker(config: dict[str, Any]) -> dict[str, Any]:
    """What each Ray Train worker runs.

    What starting anew would not change is returned, not raised: Ray starts workers again when one raises. All
    ranks come to the same conclusion, as they look at the same checkpoints and at averaged losses. Only data and
    weights may fail one rank alone, while the others wait for it: it leaves word on the board for the next start.
    """
    job: TrainingJob = config["job"]
    board: Board = config["board"]
    with suppress(ray.exceptions.RayError):  # the board was lost: then nobody knows of an obstacle
        if obstacle := board.why_give_up():
            return dict(obstacle)
    if job.threads:
        torch.set_num_threads(job.threads)
    experiment = configuration.experiment_from_dict(job.experiment, origin="training job")
    rank = RayRank(job, board, keep_checkpoints=experiment.schedule.keep_checkpoints)
    try:
        initial, critic = load_initial_model(Path(job.initial)) if job.initial else (None, None)
        end = train_rank(
            experiment,
            GrowingDataset(job.dataset, "train") if job.grows else PairDataset(job.dataset, "train"),
            rank,
            job.origin,
            held_out=open_held_out(job.source),
            perceptual=load_perceptual(experiment.loss, job.perceptual_weights),
            initial=initial,
            initial_discriminator=critic,
            stop_after=job.stop_after,
        )
    except TrainingDiverged as error:
        return {"diverged": str(error), "step": error.step}
    except (DamagedCheckpointError, TransientError):
        raise  # at the next start rank 0 finds the damage, and the server may answer
    except CheckpointError as error:
        return {"unusable": str(error)}
    except (InputError, WeightsError, StorageError) as error:
        kind = "storage" if isinstance(error, StorageError) else "unusable"
        # A reader process puts its traceback before the message.
        board.give_up({kind: last_line(error)})
        raise
    finally:
        rank.close()
    if rank.index == 0:
        board.post(Trained(step=end.step, seconds=rank.seconds))
    return {"step": end.step}


class StopWord:
    """Rank 0's word on whether to stop, which all ranks hear after the same step: a few times a second at most.

    The word is the number of steps until the next one, or 0 to stop: an exchange costs a fifth of a millisecond, which
    is much beside a fast step, and nobody minds a stop that comes a quarter of a second later.
    """

    def __init__(self) -> None:
        # Words between ranks do not wait for the GPUs' work, as they would in NCCL's group.
        self._group = torch.distributed.new_group(backend="gloo")
        self._interval = self._left = 1
        self._since = time.perf_counter()

    def exchange(self, stop: bool) -> bool:
        """Whether to stop after this step, as rank 0's `stop` was at the last word; every rank calls it."""
        self._left -= 1
        if self._left:
            return False
        now = time.perf_counter()
        step_s = (now - self._since) / self._interval
        steps = 0 if stop else max(1, int(WORD_EVERY_S / step_s))
        word = torch.tensor([steps])
        torch.distributed.broadcast(word, 0, group=self._group)
        self._interval = self._left = int(word)
        self._since = now
        return self._interval == 0


class RayRank:
    """A `loop.Rank` inside a Ray Train worker."""

    def __init__(self, job: TrainingJob, board: Board, *, keep_checkpoints: int) -> None:
        self._began = time.perf_counter()
        context = ray.train.get_context()
        self.index: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()
        self.checkpoints = CheckpointStore(
            Path(job.checkpoints), keep=keep_checkpoints, before_write=self._settle
        )
        self._job, self._board = job, board
        self._words = StopWord() if self.world_size > 1 else None
        self._closing, self._stop = threading.Event(), threading.Event()
        if self.index == 0:
            self._board.begin_work()
            threading.Thread(target=self._listen, daemon=True, name="stop-requests").start()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self._began

    def wrap(self, network: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return network
        return nn.parallel.DistributedDataParallel(
            network,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )

    def gather(self, row: Tensor) -> Tensor:
        if self.world_size == 1:
            return row[None]
        # NCCL only moves what lies on a GPU.
        row = row.to(self.device)
        rows = [torch.empty_like(row) for _ in range(self.world_size)]
        torch.distributed.all_gather(rows, row)
        return torch.stack(rows).cpu()

    def stop_requested(self) -> bool:
        self.checkpoints.require_writable()
        stop = self._stop.is_set()
        return stop if self._words is None else self._words.exchange(stop)

    def note(self, message: str) -> None:
        self._board.post(message)

    def record(self, record: Record) -> None:
        self._board.post(record)

    def validated(self, step: int, scores: Mapping[str, float]) -> None:
        self._board.post(Validated(step=step, scores=dict(scores), seconds=self.seconds))

    def sample(self, step: int, model: Generator) -> None:
        self._board.post(Sample(step=step, sheet=sample_sheet(model, self._job.source)))

    def grown(self, step: int, clips: int) -> None:
        self._board.post(Grown(step=step, clips=clips))

    def close(self) -> None:
        """Let go of what the rank holds open, once a checkpoint that is being written is on disk."""
        self._closing.set()
        with suppress(StorageError):  # a failure that ends the rank in any case has been raised
            self.checkpoints.finish()
        if self.index == 0:
            self._board.end_work()

    def _settle(self) -> None:
        """What was told before a checkpoint would not be told again by those who go on from it."""
        with suppress(ray.exceptions.RayError):  # the board was lost: nobody records any more
            self._board.settle()

    def _listen(self) -> None:
        """Ask, about twice a second, whether training is to end."""
        with suppress(ray.exceptions.RayError):  # the board was lost: nobody can ask for it any more
            while not self._closing.wait(STOP_POLL_S):
                if self._board.stop_requested():
                    self._stop.set()
                    return


def open_held_out(dataset: DatasetSource) -> PairDataset | None:
    """The clips that validation goes through; None where no clip is held out."""
    return PairDataset(dataset, "test") if count_clips(dataset)["test"] else None


def load_perceptual(loss: LossConfig, weights: str | None) -> PerceptualLoss | None:
    """The perceptual term that the configuration asks for; None if it asks for none. Raises WeightsError."""
    if not loss.uses_perceptual or weights is None:
        return None
    return PerceptualLoss(load_vgg(weights), loss.perceptual_scales)
