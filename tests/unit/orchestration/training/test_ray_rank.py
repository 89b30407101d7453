"""The word on whether to stop: heard by all ranks after the same step, and not after every one."""

import time

import pytest
import torch
import torch.distributed as dist

from orchestration.training.ray_rank import WORD_EVERY_S, StopWord

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
