"""A few clips to look at, the same ones every time, from as many subjects as there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipelines.dataset.pairs import Frames, PairDataset

FRAMES_A_CLIP = 5


@dataclass(frozen=True, kw_only=True)
class SampledClip:
    """One clip and some of its frames."""

    clip_id: str
    partition: str
    subject_id: str
    n_frames: int
    """Frames of the whole clip."""
    fps: Fraction
    """Frames a second of the clip."""
    numbers: list[int]
    """Which frames are shown, the first and the last among them."""
    frames: Frames
    """Those frames, uint8 RGB (N,H,W,3)."""


def sample_clips(dataset: PairDataset, groups: NDArray[np.integer], count: int) -> list[SampledClip]:
    """Up to `count` clips of a partition; `groups` numbers the subject of each clip.

    Raises DatasetError where a shard is damaged.
    """
    sampled = []
    for clip in spread(groups, count):
        info = dataset.info(clip)
        numbers = evenly(info.n_frames, FRAMES_A_CLIP)
        sampled.append(
            SampledClip(
                clip_id=info.clip_id,
                partition=dataset.partition,
                subject_id=info.subject_id,
                n_frames=info.n_frames,
                fps=info.fps,
                numbers=numbers,
                frames=dataset.frames(clip, numbers),
            )
        )
    return sampled


def spread(groups: NDArray[np.integer], count: int) -> list[int]:
    """Up to `count` indices into `groups`: the first of every group, then the second of every group, and so on.

    The manifest's order is that of a hash, so the first ones of a group are as good as drawn by lot.
    """
    by_group = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[by_group], return_index=True, return_counts=True)
    turn = np.empty(len(groups), np.int64)
    turn[by_group] = np.arange(len(groups)) - np.repeat(starts, sizes)
    return [int(index) for index in np.argsort(turn, kind="stable")[:count]]


def share_out(available: Sequence[int], count: int, weights: Sequence[float]) -> list[int]:
    """Split `count` by weight over stocks of which none gives more than it has; what one lacks others give."""
    wanted = [round(count * weight / sum(weights)) for weight in weights]
    shares = [min(stock, share) for stock, share in zip(available, wanted, strict=True)]
    for number, stock in enumerate(available):
        shares[number] = min(stock, count - sum(shares) + shares[number])
    return shares


def evenly(n_frames: int, count: int) -> list[int]:
    """Up to `count` frame numbers at equal distances, from the first frame to the last."""
    return [int(number) for number in np.unique(np.linspace(0, n_frames - 1, count).round())]
