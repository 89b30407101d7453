"""Validation in the middle of training: the same held-out pairs every time, shared out among the ranks."""

# B pairs
from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from lia_model import metrics
from lia_model.generator import Generator
from lia_model.losses import PerceptualLoss
from lia_model.pixels import to_float
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.sampler import PairSampler

# Not the run's own seed: runs with other seeds are compared by the same pairs.
SEED = 0
BATCH = 8
METRICS = {"l1": metrics.l1, "psnr": metrics.psnr, "ssim": metrics.ssim}
COPYING = {"copy_l1": metrics.l1, "copy_ssim": metrics.ssim}
"""Of the source itself in place of the reconstruction; not its PSNR, which is infinite where nothing moves."""


class Validation:
    """Callable: generator -> mean scores on held-out pairs, the same on every rank.

    `l1`, `psnr` and `ssim` as lia_model.metrics has them, `copy_l1` and `copy_ssim`, the scores of the source itself,
    and `perceptual` where there are features. Every rank must call it.
    """

    def __init__(
        self,
        held_out: PairDataset,
        *,
        pairs: int,
        device: torch.device,
        perceptual: PerceptualLoss | None = None,
        rank: int = 0,
        world_size: int = 1,
        gather: Callable[[Tensor], Tensor] = lambda row: row[None],
    ) -> None:
        self.held_out = held_out
        self.device = device
        self.perceptual = perceptual
        self.gather = gather
        everybody = next(PairSampler(held_out.n_frames, seed=SEED).batches(pairs))
        self.keys = everybody[rank::world_size]

    @torch.no_grad()
    def __call__(self, generator: Generator) -> dict[str, float]:
        names = [*METRICS, *COPYING, *(["perceptual"] if self.perceptual else [])]
        sums = torch.zeros(len(names) + 1, dtype=torch.float64)
        keys = iter(self.keys)
        while batch := list(islice(keys, BATCH)):
            frames = [self.held_out.frames(k.clip, (k.source_frame, k.driving_frame)) for k in batch]
            pairs = to_float(torch.from_numpy(np.stack(frames)).to(self.device))
            scores = self._scores(generator, pairs[:, 0], pairs[:, 1])
            sums += torch.cat((scores, scores.new_tensor([len(batch)]))).cpu()
        *totals, count = self.gather(sums).sum(0).tolist()
        return {name: total / count for name, total in zip(names, totals, strict=True)}

    def _scores(self, generator: Generator, source: Tensor, driving: Tensor) -> Tensor:
        """Sums over a batch, in the order of the names."""
        image = generator(source, driving)
        shown = [(image, metric) for metric in METRICS.values()]
        shown += [(source, metric) for metric in COPYING.values()]
        sums = [metric(made, driving).double().sum() for made, metric in shown]
        if self.perceptual is not None:
            sums.append(self.perceptual(image, driving)[0].double() * len(image))
        return torch.stack(sums)
