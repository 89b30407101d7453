"""Three ranks in processes of their own: from three on, the layout of gradient buckets decides how sums are rounded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from orchestration.training.loop import train_rank
from tests.unit.orchestration.training.test_loop import (
    EXPERIMENT,
    ORIGIN,
    AloneRank,
    NoiseClips,
    assert_same_bits,
    weights,
)

RANKS = 3
OF_THREE = replace(
    EXPERIMENT, schedule=replace(EXPERIMENT.schedule, steps=3, workers=RANKS, batch_size=6, micro_batches=2)
)


class ProcessRank(AloneRank):
    """A rank of a process group."""

    world_size = RANKS

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.index = dist.get_rank()

    def wrap(self, network: torch.nn.Module) -> torch.nn.Module:
        return torch.nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)

    def gather(self, row: torch.Tensor) -> torch.Tensor:
        rows = [torch.empty_like(row) for _ in range(self.world_size)]
        dist.all_gather(rows, row)
        return torch.stack(rows)


def _train(index: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=RANKS)
    train_rank(OF_THREE, NoiseClips(), ProcessRank(folder / "whole"), ORIGIN)
    for stop_after in (1, 3):
        train_rank(OF_THREE, NoiseClips(), ProcessRank(folder / "halves"), ORIGIN, stop_after=stop_after)
        dist.barrier()  # rank 0's checkpoint is written
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_three_ranks_that_stop_and_go_on_change_no_bit(tmp_path):
    torch.multiprocessing.spawn(_train, (tmp_path,), nprocs=RANKS)
    assert_same_bits(weights(tmp_path / "whole", 3), weights(tmp_path / "halves", 3))
