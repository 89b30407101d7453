"""The worker's side of training under Ray Train: what one rank runs, and the `Rank` it hands to the loop."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from torch import Tensor, nn

from lia_model.losses import PerceptualLoss
from lia_model.vgg import load_vgg
from lia_model.weights import WeightsError
from orchestration import configuration
from orchestration.experiment import LossConfig
from orchestration.samples import sample_sheet
from orchestration.training_loop import Record, train_rank
from orchestration.training_state import CheckpointError, Origin
from orchestration.training_step import Networks, TrainingDiverged
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import InputError
from pipelines.storage.location import parse_location
from tracking.errors import TrackingError
from tracking.run import Run


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What a worker is told. Paths are absolute (the dataset's may be a URI); they mean the same on every node."""

    experiment: dict[str, Any]
    dataset: str
    origin: Origin
    perceptual_weights: str | None
    tracking_uri: str
    run_id: str
    threads: int | None
    resume_from: str | None
    """A checkpoint that the driver found to be whole, for the start of the run."""
    stop_after: int | None


def train_worker(config: dict[str, Any]) -> dict[str, Any]:
    """What each Ray Train worker runs.

    What starting anew would not change is returned, not raised: Ray starts workers again when one raises. All
    ranks come to the same conclusion, as they look at the same files and at averaged losses. Only damaged data
    may be met by one rank alone, while the others wait for it: it leaves word on the board for the next start.
    """
    job: TrainingJob = config["job"]
    with suppress(ray.exceptions.RayError):  # the board was lost: then nobody knows of an obstacle
        if obstacle := ray.get(config["board"].why_give_up.remote()):
            return {"unusable": obstacle}
    if job.threads:
        torch.set_num_threads(job.threads)
    rank = RayRank(job, config["board"])
    try:
        try:
            experiment = configuration.experiment_from_dict(job.experiment, origin="training job")
            dataset = PairDataset(job.dataset, "train")
            perceptual = load_perceptual(experiment.loss, job.perceptual_weights)
        except (InputError, WeightsError) as error:
            return {"unusable": str(error)}
        try:
            end = train_rank(
                experiment, dataset, rank, job.origin, perceptual=perceptual, stop_after=job.stop_after
            )
        except TrainingDiverged as error:
            return {"diverged": str(error)}
        except CheckpointError as error:
            return {"unusable": str(error)}
        except InputError as error:
            ray.get(config["board"].give_up.remote(str(error)))
            raise
        return {"step": end.step}
    finally:
        rank.close()


class RayRank:
    """A `training_loop.Rank` inside a Ray Train worker."""

    def __init__(self, job: TrainingJob, board: Any) -> None:
        context = ray.train.get_context()
        self.index: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()
        self.losses: dict[str, float] = {}
        self._job, self._board = job, board
        self._run = Run.attach(job.run_id, tracking_uri=job.tracking_uri) if self.index == 0 else None

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

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        checkpoint = ray.train.get_checkpoint()
        with checkpoint.as_directory() if checkpoint else nullcontext(self._job.resume_from) as folder:
            yield Path(folder) if folder else None

    def publish(self, step: int, write: Callable[[Path], None]) -> None:
        metrics = {"step": step, **self.losses}
        if self.index > 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "checkpoint"
            write(folder)
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(str(folder)),
                checkpoint_dir_name=f"step-{step:08d}",
            )

    def record(self, record: Record) -> None:
        assert self._run is not None
        self.losses = record.losses
        self._board.post.remote(record)
        values = {f"loss/{name}": value for name, value in record.losses.items()}
        values |= {"speed/pairs_per_second": record.pairs_per_second, "speed/data_wait": record.data_wait}
        with self._in_spite_of_the_store():
            self._run.log_metrics(values, step=record.step)

    def sample(self, step: int, networks: Networks) -> None:
        assert self._run is not None
        sheet = sample_sheet(networks.generator, parse_location(self._job.dataset))
        with self._in_spite_of_the_store():
            self._run.log_image(sheet, f"samples/step-{step:08d}.png")

    def close(self) -> None:
        if self._run is not None:
            with self._in_spite_of_the_store():
                self._run.flush()

    @contextmanager
    def _in_spite_of_the_store(self) -> Iterator[None]:
        """Go on where MLflow's store fails: unsent metrics are kept for the next time, the training is worth more."""
        try:
            yield
        except TrackingError as error:
            self._board.post.remote(f"not recorded: {error}")


def load_perceptual(loss: LossConfig, weights: str | None) -> PerceptualLoss | None:
    """The perceptual term that the configuration asks for; None if it asks for none. Raises WeightsError."""
    if not loss.uses_perceptual or weights is None:
        return None
    return PerceptualLoss(load_vgg(weights), loss.perceptual_scales)
