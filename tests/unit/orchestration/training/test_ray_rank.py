"""The word on whether to stop, heard by all ranks after the same step, and the word that one rank cannot go on."""

import time
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from orchestration import configuration
from orchestration.recipes import demo
from orchestration.training import ray_rank
from orchestration.training.checkpoint import Origin
from orchestration.training.message_board import LocalBoard, MessageBoard
from orchestration.training.ray_rank import WORD_EVERY_S, StopWord, TrainingJob, train_worker
from pipelines.errors import DatasetError

STEP_S = 0.005


def ranks(tmp_path, work) -> list:
    torch.multiprocessing.spawn(_rank, (tmp_path, work), nprocs=2)
    return [torch.load(tmp_path / str(rank)) for rank in (0, 1)]


def _rank(rank, folder, work) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(work(rank), folder / str(rank))
    dist.destroy_process_group()


def step_at_which_all_stop(rank: int) -> int:
    word = StopWord()
    for step in range(1, 2000):
        time.sleep(STEP_S * (1 + rank))  # ranks that differ in speed wait for each other elsewhere
        if word.exchange(rank == 0 and step >= 20):
            return step
    return 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ranks_stop_after_the_same_step(tmp_path):
    first, second = ranks(tmp_path, step_at_which_all_stop)
    assert first == second >= 20


def test_fast_steps_share_a_word(tmp_path, monkeypatch):
    words = []
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        word = StopWord()
        broadcast = dist.broadcast
        monkeypatch.setattr(dist, "broadcast", lambda *a, **k: (words.append(1), broadcast(*a, **k)))
        began = time.perf_counter()
        for _ in range(200):
            time.sleep(STEP_S)
            assert not word.exchange(False)
        assert len(words) <= 3 + 2 * (time.perf_counter() - began) / WORD_EVERY_S
        assert len(words) < 60
    finally:
        dist.destroy_process_group()


@pytest.fixture
def board() -> MessageBoard:
    return MessageBoard()


@pytest.fixture
def job(tmp_path) -> TrainingJob:
    """A training whose data are absent."""
    return TrainingJob(
        experiment=configuration.to_dict(demo()),
        dataset=str(tmp_path / "absent"),
        origin=Origin(dataset_digest="d"),
        perceptual_weights=None,
        threads=None,
        checkpoints=str(tmp_path),
        initial=None,
        stop_after=None,
    )


@pytest.fixture
def train(job, board, monkeypatch):
    """Runs the worker's side of the training, with a board that outlives the calls."""
    monkeypatch.setattr(ray_rank, "RayRank", lambda *_, **__: SimpleNamespace(close=lambda: None))
    return lambda: train_worker({"job": job, "board": board})


def test_a_rank_that_alone_lacks_its_data_leaves_word_for_the_next_start(train):
    """Were it to return, the others would wait for it for half an hour."""
    with pytest.raises(DatasetError, match="absent"):
        train()
    assert "absent" in train()["unusable"]


class DamagedClips(torch.utils.data.Dataset):
    def __getitem__(self, index: int) -> None:
        raise DatasetError("train-000000.tar: damaged")

    def __len__(self) -> int:
        return 1


def test_what_a_reader_process_says_is_told_without_its_traceback(train, monkeypatch):
    def read(*_, **__):
        list(torch.utils.data.DataLoader(DamagedClips(), num_workers=1))

    for name in ("PairDataset", "open_held_out", "load_perceptual"):
        monkeypatch.setattr(ray_rank, name, lambda *_: None)
    monkeypatch.setattr(ray_rank, "train_rank", read)
    with pytest.raises(DatasetError, match="Traceback"):
        train()
    assert train()["unusable"] == "pipelines.errors.DatasetError: train-000000.tar: damaged"


def test_a_checkpoint_is_written_after_what_was_told_before_it_is_dealt_with(job, monkeypatch, tmp_path):
    """Whoever goes on from the checkpoint would not tell it again."""
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(ray_rank.ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray_rank.ray.train.torch, "get_device", lambda: torch.device("cpu"))
    order: list[object] = []
    board = LocalBoard(order.append, lambda: order.append("settled"))
    rank = ray_rank.RayRank(job, board, keep_checkpoints=1)
    rank.validated(1, {"l1": 0.5})
    snapshot = SimpleNamespace(
        progress=SimpleNamespace(step=1), write=lambda target: order.append(f"written {target.name}")
    )
    rank.checkpoints.save(snapshot)
    rank.close()
    assert [getattr(entry, "scores", entry) for entry in order] == [
        {"l1": 0.5},
        "settled",
        "written step-00000001",
    ]
