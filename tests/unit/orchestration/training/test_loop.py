"""The loop of one rank: exact resume, records, and what it refuses. A `Rank` alone in a process stands for Ray."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.discriminator import Discriminator
from lia_model.generator import Generator
from lia_model.weights import load_generator
from orchestration.experiment import ComputeConfig, DataConfig, Experiment, LossConfig, ScheduleConfig
from orchestration.training import loop
from orchestration.training.checkpoint import (
    CheckpointError,
    Origin,
    model_folder,
    read_progress,
    restore_checkpoint,
)
from orchestration.training.checkpoint_store import CheckpointStore
from orchestration.training.loop import Record, train_rank
from orchestration.training.step import Networks, TrainingDiverged, TrainingStep
from orchestration.training.validation import Validation
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.editions import WHOLE, GrowingDataset
from pipelines.errors import DatasetError, StorageError

ORIGIN = Origin(dataset_digest="d" * 64, provenance={"git_commit": None})
EXPERIMENT = Experiment(
    name="tiny",
    model=LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.03),
    prepare=PrepareConfig(size=32),
    data=DataConfig(flip=True, colour_jitter=0.1),
    loss=LossConfig(perceptual=0.0, perceptual_features="none"),
    schedule=ScheduleConfig(
        steps=5, batch_size=2, workers=1, log_every=2, sample_every=4, checkpoint_every=2, seed=3
    ),
)


class NoiseClips:
    """Stands for a PairDataset: three clips of noise."""

    n_frames = np.array([3, 5, 4])
    reads = 0

    def __len__(self) -> int:
        return len(self.n_frames)

    def frames(self, clip: int, numbers: tuple[int, ...]) -> np.ndarray:
        self.reads += 1
        rng = np.random.default_rng([clip, *numbers])
        return rng.integers(0, 256, (len(numbers), 32, 32, 3), dtype=np.uint8)


class MoreNoise(NoiseClips):
    """The same three clips, and a fourth."""

    n_frames = np.array([3, 5, 4, 6])


class GrowingNoise(GrowingDataset):
    """Stands for a dataset in preparation: three clips, then a fourth, then the same as the whole."""

    def __init__(self, *newest: int | Exception) -> None:
        """What is newest, each time that somebody asks; the last for good."""
        super().__init__("/nowhere", "train")
        self.answers = list(newest)
        self.opened: list[int] = []

    def newest(self) -> int:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def open(self, edition: int) -> NoiseClips:
        self.opened.append(edition)
        return NoiseClips() if edition == 1 else MoreNoise()


class AloneRank:
    """A `Rank` without a launcher, which asks for an end after `stop_after` steps."""

    index = 0
    world_size = 1
    device = torch.device("cpu")

    def __init__(self, folder: Path, *, stop_after: int | None = None) -> None:
        self.folder = folder
        self.checkpoints = CheckpointStore(folder)
        self.stop_after = stop_after
        self.steps_asked = 0
        self.records: list[Record] = []
        self.scores: dict[int, dict[str, float]] = {}
        self.sampled: list[int] = []
        self.notes: list[str] = []
        self.grew: list[tuple[int, int]] = []

    def wrap(self, network: torch.nn.Module) -> torch.nn.Module:
        return network

    def gather(self, row: torch.Tensor) -> torch.Tensor:
        return row[None]

    def stop_requested(self) -> bool:
        self.steps_asked += 1
        return self.steps_asked == self.stop_after

    def note(self, message: str) -> None:
        self.notes.append(message)

    def record(self, record: Record) -> None:
        self.records.append(record)

    def validated(self, step: int, scores: dict[str, float]) -> None:
        self.scores[step] = scores

    def sample(self, step: int, model: Generator) -> None:
        self.sampled.append(step)

    def grown(self, step: int, clips: int) -> None:
        self.grew.append((step, clips))


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    networks = Networks.create(EXPERIMENT)
    restore_checkpoint(folder / f"step-{step:08d}", networks, rank=0)
    assert networks.discriminator is not None
    return {**networks.generator.state_dict(), **networks.discriminator.state_dict(prefix="d.")}


def assert_same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.mark.parametrize(
    ("stop", "compute"),
    [
        *((stop, ComputeConfig()) for stop in (1, 2, 3, 4)),
        pytest.param(2, ComputeConfig(channels_last=True), id="channels-last"),
        pytest.param(2, ComputeConfig(precision="bf16", recompute=True), id="bf16-recompute"),
    ],
)
def test_stopping_after_any_step_and_resuming_changes_no_bit(stop, compute, tmp_path):
    experiment = replace(EXPERIMENT, compute=compute)
    whole, halves = AloneRank(tmp_path / "whole"), AloneRank(tmp_path / "halves")
    train_rank(experiment, NoiseClips(), whole, ORIGIN)
    train_rank(experiment, NoiseClips(), halves, ORIGIN, stop_after=stop)
    torch.rand(7)  # other draws between the two must not matter
    progress = train_rank(experiment, NoiseClips(), halves, ORIGIN)
    assert progress.step == 5
    assert_same_bits(weights(whole.folder, 5), weights(halves.folder, 5))


def test_training_begins_with_the_networks_it_is_given_and_goes_on_without_them(tmp_path):
    torch.manual_seed(1)
    generator, critic = Generator(EXPERIMENT.model), Discriminator(EXPERIMENT.model)
    slow = replace(EXPERIMENT, optimiser=replace(EXPERIMENT.optimiser, lr=1e-9))
    given = {**generator.state_dict(), **critic.state_dict(prefix="d.")}
    start = {"initial": generator, "initial_discriminator": critic}
    train_rank(slow, NoiseClips(), AloneRank(tmp_path), ORIGIN, stop_after=1, **start)
    for name, weight in weights(tmp_path, 1).items():
        torch.testing.assert_close(weight, given[name], rtol=0, atol=1e-7)
    first = weights(tmp_path, 1)
    fresh = {"initial": Generator(EXPERIMENT.model), "initial_discriminator": Discriminator(EXPERIMENT.model)}
    train_rank(slow, NoiseClips(), AloneRank(tmp_path), ORIGIN, stop_after=2, **fresh)
    for name, weight in weights(tmp_path, 2).items():
        torch.testing.assert_close(weight, first[name], rtol=0, atol=1e-7)


def test_records_samples_and_checkpoints_come_when_they_are_due(tmp_path):
    rank = AloneRank(tmp_path)
    train_rank(EXPERIMENT, NoiseClips(), rank, ORIGIN)
    assert [record.step for record in rank.records] == [2, 4, 5]
    assert all(set(r.losses) == {"l1", "adversarial", "generator", "discriminator"} for r in rank.records)
    assert all(0 <= r.data_wait <= 1 and r.pairs_per_second > 0 for r in rank.records)
    assert rank.sampled == [4, 5]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"step-{s:08d}" for s in (2, 4, 5)]


def test_a_checkpoint_says_where_it_stands(tmp_path):
    train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), ORIGIN)
    progress = read_progress(tmp_path / "step-00000004")
    assert (progress.step, progress.pairs_seen, progress.epoch) == (4, 8, 2)
    assert progress.dataset_digest == ORIGIN.dataset_digest
    assert progress.provenance == ORIGIN.provenance
    assert progress.config["schedule"]["seed"] == 3


def test_a_run_that_is_over_reads_no_data(tmp_path):
    train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), ORIGIN)
    clips = NoiseClips()
    assert train_rank(EXPERIMENT, clips, AloneRank(tmp_path), ORIGIN).step == 5
    assert clips.reads == 0


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_saved(tmp_path):
    experiment = replace(EXPERIMENT, optimiser=replace(EXPERIMENT.optimiser, lr=1e30))
    with pytest.raises(TrainingDiverged, match="step 2"):
        train_rank(experiment, NoiseClips(), AloneRank(tmp_path), ORIGIN)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["generator/model.safetensors", "discriminator.safetensors", "optimisers.pt", "rng.safetensors"]
)
def test_a_damaged_checkpoint_is_refused_by_name(name, tmp_path):
    train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), ORIGIN, stop_after=1)
    path = tmp_path / "step-00000001" / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match=name):
        restore_checkpoint(path.parents[name.count("/")], Networks.create(EXPERIMENT), rank=0)


def test_a_checkpoint_without_its_state_is_none(tmp_path):
    with pytest.raises(CheckpointError, match=r"no state\.json"):
        read_progress(tmp_path)


def test_a_checkpoint_of_another_size_is_refused(tmp_path):
    train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), ORIGIN, stop_after=1)
    other = replace(EXPERIMENT, model=replace(EXPERIMENT.model, motion_dim=4))
    with pytest.raises(CheckpointError, match="motion_dim=4"):
        restore_checkpoint(tmp_path / "step-00000001", Networks.create(other), rank=0)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        pytest.param({"seed": 4}, "schedule", id="other-seed"),
        pytest.param({"batch_size": 4}, "schedule", id="other-batch"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changes, what, tmp_path):
    train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), ORIGIN, stop_after=1)
    other = replace(EXPERIMENT, schedule=replace(EXPERIMENT.schedule, **changes))
    with pytest.raises(CheckpointError, match=f"another {what}"):
        train_rank(other, NoiseClips(), AloneRank(tmp_path), ORIGIN)
    with pytest.raises(CheckpointError, match="another dataset digest"):
        train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), Origin(dataset_digest="e" * 64))


def test_more_steps_and_rarer_records_are_the_same_run(tmp_path):
    train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), ORIGIN)
    longer = replace(EXPERIMENT, schedule=replace(EXPERIMENT.schedule, steps=6, log_every=3))
    assert train_rank(longer, NoiseClips(), AloneRank(tmp_path), ORIGIN).step == 6


def test_stopping_before_the_present_step_changes_nothing(tmp_path):
    train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), ORIGIN)
    assert train_rank(EXPERIMENT, NoiseClips(), AloneRank(tmp_path), ORIGIN, stop_after=2).step == 5


class PairOfRanks(AloneRank):
    """As rank 0 sees it when another rank's losses are not finite."""

    def gather(self, row: torch.Tensor) -> torch.Tensor:
        return (
            torch.stack([row, torch.full_like(row, float("nan"))]) if row.is_floating_point() else row[None]
        )


def test_a_loss_that_another_rank_finds_not_finite_stops_every_rank(tmp_path):
    with pytest.raises(TrainingDiverged, match="step 1"):
        train_rank(EXPERIMENT, NoiseClips(), PairOfRanks(tmp_path), ORIGIN)


def test_bf16_and_no_discriminator_go_through(tmp_path):
    experiment = replace(
        EXPERIMENT,
        loss=replace(EXPERIMENT.loss, adversarial=0.0),
        schedule=replace(EXPERIMENT.schedule, steps=2),
        compute=ComputeConfig(precision="bf16"),
    )
    assert train_rank(experiment, NoiseClips(), AloneRank(tmp_path), ORIGIN).step == 2


def test_being_asked_to_stop_leaves_a_checkpoint_to_go_on_from(tmp_path):
    whole, halves = AloneRank(tmp_path / "whole"), AloneRank(tmp_path / "halves", stop_after=3)
    train_rank(EXPERIMENT, NoiseClips(), whole, ORIGIN)
    assert train_rank(EXPERIMENT, NoiseClips(), halves, ORIGIN).step == 3
    assert halves.checkpoints.steps() == [2, 3]
    halves.stop_after = None
    assert train_rank(EXPERIMENT, NoiseClips(), halves, ORIGIN).step == 5
    assert_same_bits(weights(whole.folder, 5), weights(halves.folder, 5))


def test_the_moving_average_goes_on_to_the_bit(tmp_path):
    experiment = replace(EXPERIMENT, optimiser=replace(EXPERIMENT.optimiser, ema=0.9))
    whole, halves = AloneRank(tmp_path / "whole"), AloneRank(tmp_path / "halves")
    train_rank(experiment, NoiseClips(), whole, ORIGIN)
    train_rank(experiment, NoiseClips(), halves, ORIGIN, stop_after=2)
    train_rank(experiment, NoiseClips(), halves, ORIGIN)
    a, b = (load_generator(model_folder(rank.checkpoints.path(5))).state_dict() for rank in (whole, halves))
    assert_same_bits(a, b)
    assert any(not torch.equal(a[name], weights(whole.folder, 5)[name]) for name in a)


def test_the_step_that_diverged_is_named_with_its_losses_and_the_checkpoint_before_it(tmp_path, monkeypatch):
    """Though losses are read every second step only."""
    steps = count(1)
    step_once = TrainingStep.__call__

    def poisoned(self, source, driving):
        terms = step_once(self, source, driving)
        return terms | {"l1": terms["l1"] * float("nan")} if next(steps) == 3 else terms

    monkeypatch.setattr(TrainingStep, "__call__", poisoned)
    rank = AloneRank(tmp_path)
    with pytest.raises(
        TrainingDiverged, match=r"^step 3: l1 not finite \(l1 = nan, adversarial = .*\); .*step-00000002\. "
    ):
        train_rank(EXPERIMENT, NoiseClips(), rank, ORIGIN)
    assert rank.checkpoints.steps() == [2]
    assert [record.step for record in rank.records] == [2]


def test_validation_scores_are_recorded_and_decide_which_checkpoint_is_the_best(tmp_path):
    schedule = replace(EXPERIMENT.schedule, validate_every=1, validation_pairs=5)
    rank = AloneRank(tmp_path)
    rank.checkpoints.keep = 1
    train_rank(replace(EXPERIMENT, schedule=schedule), NoiseClips(), rank, ORIGIN, held_out=NoiseClips())
    assert sorted(rank.scores) == [1, 2, 3, 4, 5]
    assert all(
        set(scores) == {"l1", "psnr", "ssim", "copy_l1", "copy_ssim"} for scores in rank.scores.values()
    )
    assert len({scores["copy_l1"] for scores in rank.scores.values()}) == 1
    best = min((2, 4, 5), key=lambda step: rank.scores[step]["l1"])
    assert rank.checkpoints.best() == (best, rank.scores[best]["l1"])
    assert rank.checkpoints.steps() == sorted({best, 5})


def test_ranks_share_a_validation(tmp_path):
    generator = Networks.create(EXPERIMENT).generator
    arguments = {"held_out": NoiseClips(), "pairs": 7, "device": torch.device("cpu")}
    alone = Validation(**arguments)(generator)
    rows = []
    for rank in range(3):
        keep = lambda row: rows.append(row) or row[None]  # noqa: E731
        Validation(**arguments, rank=rank, world_size=3, gather=keep)(generator)
    *totals, pairs = torch.stack(rows).sum(0).tolist()
    assert pairs == 7
    assert [total / 7 for total in totals] == pytest.approx(
        list(alone.values()), rel=1e-5
    )  # float32, other batches


def test_only_an_elastic_run_goes_on_with_another_number_of_workers(tmp_path):
    schedule = replace(EXPERIMENT.schedule, workers=2)
    rank = AloneRank(tmp_path)
    rank.world_size = 2
    rank.gather = lambda row: torch.stack([row, row])
    monkey = pytest.MonkeyPatch()
    monkey.setattr(loop, "settle_gradient_buckets", lambda *_: None)
    with monkey.context():
        train_rank(replace(EXPERIMENT, schedule=schedule), NoiseClips(), rank, ORIGIN, stop_after=2)
    monkey.undo()
    with pytest.raises(CheckpointError, match="another number of workers"):
        train_rank(replace(EXPERIMENT, schedule=schedule), NoiseClips(), AloneRank(tmp_path), ORIGIN)
    elastic = replace(EXPERIMENT, schedule=replace(schedule, min_workers=1))
    left = AloneRank(tmp_path)
    assert train_rank(elastic, NoiseClips(), left, ORIGIN).step == 5
    assert left.notes == [
        "goes on from step 2 with 1 workers, before 2: a batch stays 2 pairs, up to 2 a worker in 2 parts"
    ]
    assert left.records[-1].workers == 1


def test_what_has_grown_is_taken_in_after_a_checkpoint_which_says_so(tmp_path):
    rank, growing = AloneRank(tmp_path), GrowingNoise(1, 1, WHOLE)
    train_rank(EXPERIMENT, growing, rank, ORIGIN)
    assert growing.opened == [1, WHOLE]
    assert rank.grew == [(0, 3), (4, 4)]
    editions = {step: read_progress(tmp_path / f"step-{step:08d}").edition for step in (2, 4, 5)}
    assert editions == {2: 1, 4: WHOLE, 5: WHOLE}


def test_a_run_goes_on_with_the_edition_of_its_checkpoint_to_the_same_bits(tmp_path):
    whole, halves = AloneRank(tmp_path / "whole"), AloneRank(tmp_path / "halves", stop_after=3)
    train_rank(EXPERIMENT, GrowingNoise(1, 1, 2), whole, ORIGIN)
    assert train_rank(EXPERIMENT, GrowingNoise(1, 1), halves, ORIGIN).step == 3
    # By now there is more, which is not for steps that the other run took without it.
    growing = GrowingNoise(2)
    train_rank(EXPERIMENT, growing, AloneRank(tmp_path / "halves"), ORIGIN)
    assert growing.opened == [1, 2]
    assert_same_bits(weights(whole.folder, 5), weights(halves.folder, 5))


def test_a_whole_dataset_that_might_have_grown_is_as_any_other(tmp_path):
    plain, growing = AloneRank(tmp_path / "plain"), AloneRank(tmp_path / "growing")
    train_rank(EXPERIMENT, MoreNoise(), plain, ORIGIN)
    train_rank(EXPERIMENT, GrowingNoise(WHOLE), growing, ORIGIN)
    assert growing.grew == []
    assert_same_bits(weights(plain.folder, 5), weights(growing.folder, 5))


@pytest.mark.parametrize("error", [StorageError("gone"), DatasetError("withdrawn")])
def test_where_nobody_can_say_what_is_new_training_stays_with_what_it_has(error, tmp_path):
    rank, growing = AloneRank(tmp_path), GrowingNoise(1, error)
    assert train_rank(EXPERIMENT, growing, rank, ORIGIN).step == 5
    assert growing.opened == [1]
    with pytest.raises(type(error)):
        train_rank(EXPERIMENT, GrowingNoise(error), AloneRank(tmp_path / "new"), ORIGIN)
