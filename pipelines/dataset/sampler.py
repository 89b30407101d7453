"""Which two frames come next: a pure function of (seed, epoch, position).

Every epoch visits every clip exactly once, in an order that depends on the seed and the epoch alone. Epochs
follow each other without a seam, as one endless line of places 0, 1, 2, ...; batch b of all ranks together is the
places b * B to (b + 1) * B, of which rank r of w takes every w-th from the r-th on. So nothing is dropped or
repeated when the number of clips is not a multiple of the batch (a batch simply runs over into the next epoch), more
ranks than clips is fine, and batches are the same whatever the number of ranks they are spread over.

Nothing is stored but the frame counts, and nothing has to be replayed: starting at any position costs the
same as starting at 0, which makes resuming exact.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, splitmix64's increment
_ORDER_ROUNDS = 8
_ORDER, _FRAMES = 1, 2  # domains: the same counters never feed two different draws


class PairKey(NamedTuple):
    """One training pair: two frames of one clip."""

    clip: int
    """Index of the clip in its dataset."""
    source_frame: int
    driving_frame: int
    """Different from `source_frame`, unless the clip has a single frame."""
    epoch: int
    position: int
    """Place in the epoch's order, from 0 to the number of clips; with `epoch` it names the pair uniquely."""


def mix64(value: int) -> int:
    """The splitmix64 finaliser (Steele, Lea and Flood, 2014): a bijection of 64-bit numbers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def hash64(*counters: int) -> int:
    """64 well mixed bits from a sequence of counters: the random numbers of this module."""
    state = 0
    for counter in counters:
        state = mix64((state ^ counter) + _GOLDEN & _MASK)
    return state


def below(bits: int, limit: int) -> int:
    """Map 64 random bits to 0 .. limit-1; the bias is under limit / 2**64."""
    return bits * limit >> 64


@lru_cache(maxsize=8)
def _round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(hash64(_ORDER, seed, epoch, number) for number in range(_ORDER_ROUNDS))


@lru_cache(maxsize=8)
def _frames_key(seed: int, epoch: int) -> int:
    return hash64(_FRAMES, seed, epoch)


def permuted(index: int, count: int, seed: int, epoch: int) -> int:
    """Where a pseudo-random permutation of 0 .. count-1 sends `index`, in constant memory.

    A Feistel network on numbers of two digits in a base near sqrt(count) permutes a slightly larger range;
    values outside the wanted range are sent through again until they fall inside (cycle walking; Black and
    Rogaway, "Ciphers with arbitrary finite domains", 2002).
    """
    # An odd base could reach only permutations of one parity: every round shifts by even permutations.
    base = isqrt(count - 1) + 1
    base += base % 2
    keys = _round_keys(seed, epoch)
    while True:
        left, right = divmod(index, base)
        for key in keys:
            left, right = right, (left + below(mix64(key + right & _MASK), base)) % base
        index = left * base + right
        if index < count:
            return index


def two_frames(n_frames: int, seed: int, epoch: int, position: int) -> tuple[int, int]:
    """An ordered pair of distinct frames, each such pair equally likely; (0, 0) where there is but one."""
    if n_frames == 1:
        return 0, 0
    bits = mix64((_frames_key(seed, epoch) ^ position) + _GOLDEN & _MASK)
    source = below(bits, n_frames)
    driving = below(mix64(bits + _GOLDEN & _MASK), n_frames - 1)
    return source, driving + (driving >= source)


class PairSampler:
    """The endless stream of pairs that one rank trains on.

    `n_frames` holds the number of frames of each clip, in the dataset's order.
    """

    def __init__(
        self, n_frames: Sequence[int] | NDArray[np.integer], *, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.n_frames = np.asarray(n_frames, dtype=np.int64)
        if self.n_frames.ndim != 1 or self.n_frames.size == 0:
            raise ValueError("PairSampler needs the frame counts of at least one clip")
        if self.n_frames.min() < 1:
            clip = int(self.n_frames.argmin())
            raise ValueError(
                f"PairSampler: clip {clip} has {self.n_frames[clip]} frames; each needs one or more"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"PairSampler: rank must lie in 0 .. {world_size - 1}, got {rank}")
        if not 0 <= seed <= _MASK:
            raise ValueError(f"PairSampler: seed must lie in 0 .. 2**64-1, got {seed}")
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def key(self, place: int) -> PairKey:
        """The pair at `place` (>= 0) of the line of all epochs, whichever rank it falls to."""
        if place < 0:
            raise ValueError(f"PairSampler: place must not be negative, got {place}")
        clips = len(self.n_frames)
        epoch, position = divmod(place, clips)
        clip = permuted(position, clips, self.seed, epoch)
        source, driving = two_frames(int(self.n_frames[clip]), self.seed, epoch, position)
        return PairKey(clip, source, driving, epoch, position)

    def batches(self, batch_size: int, start: int = 0) -> Iterator[list[PairKey]]:
        """This rank's share of each batch of `batch_size` pairs, from batch number `start` on, without end.

        Shares of ranks differ by one pair where the batch is not a multiple of the ranks; raises ValueError if one
        would be empty.
        """
        if batch_size < self.world_size:
            raise ValueError(
                f"PairSampler: batch_size must be at least the {self.world_size} ranks, got {batch_size}"
            )
        for first in count(start * batch_size, batch_size):
            yield [self.key(first + place) for place in range(self.rank, batch_size, self.world_size)]
