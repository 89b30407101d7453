"""The sampler's promises, each as a property of a pure function."""

from collections import Counter
from itertools import islice, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dataset.sampler import PairKey, PairSampler, below, hash64, mix64, permuted, two_frames

seeds = st.integers(0, 2**64 - 1)
counts = st.integers(1, 60)
quick = settings(max_examples=40)
PINNED = [(1, 9, 3, 0, 1), (2, 6, 28, 1, 0), (1, 12, 4, 1, 2), (1, 18, 11, 2, 1)]


def chi_square(observed: Counter, cells: int) -> float:
    """Chi-square per degree of freedom against a uniform distribution over `cells`."""
    expected = observed.total() / cells
    unseen = cells - len(observed)
    return (sum((n - expected) ** 2 / expected for n in observed.values()) + unseen * expected) / (cells - 1)


@quick
@given(count=st.integers(1, 3000), seed=seeds, epoch=st.integers(0, 10**6))
def test_each_epoch_is_a_permutation(count, seed, epoch):
    assert sorted(permuted(i, count, seed, epoch) for i in range(count)) == list(range(count))


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_every_order_is_equally_likely(count):
    orders = list(permutations(range(count)))
    seen = Counter(
        tuple(permuted(i, count, 7, epoch) for i in range(count)) for epoch in range(60 * len(orders))
    )
    assert len(seen) == len(orders)
    assert chi_square(seen, len(orders)) < 4


def test_orders_of_many_clips_are_unlike_each_other():
    first, second = ([permuted(i, 5000, 1, epoch) for i in range(5000)] for epoch in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first, range(5000))[0, 1]) < 0.05


@quick
@given(
    count=counts,
    world_size=st.integers(1, 9),
    more=st.integers(0, 9),
    steps=st.integers(1, 12),
    seed=seeds,
)
def test_ranks_share_each_epoch_without_overlap_or_loss(count, world_size, more, steps, seed):
    ranks = [
        PairSampler([3] * count, seed=seed, rank=rank, world_size=world_size).batches(world_size + more)
        for rank in range(world_size)
    ]
    shares = [next(rank) for _ in range(steps) for rank in ranks]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    places = sorted((key.epoch, key.position) for share in shares for key in share)
    assert places == [divmod(place, count) for place in range(steps * (world_size + more))]


@quick
@given(count=counts, seed=seeds, batch_size=st.integers(7, 20), step=st.integers(0, 20))
def test_a_batch_is_the_same_for_any_number_of_ranks(count, seed, batch_size, step):
    def batch(world_size: int) -> list[PairKey]:
        ranks = [
            PairSampler([5] * count, seed=seed, rank=r, world_size=world_size) for r in range(world_size)
        ]
        return sorted(key for s in ranks for key in next(s.batches(batch_size, start=step)))

    assert batch(1) == batch(2) == batch(3) == batch(7)


@quick
@given(
    n_frames=st.lists(st.integers(1, 300), min_size=1, max_size=20),
    seed=seeds,
    world_size=st.integers(1, 5),
    start=st.integers(0, 200),
    batch_size=st.integers(5, 12),
)
def test_resuming_equals_not_stopping(n_frames, seed, world_size, start, batch_size):
    rank = seed % world_size
    whole = PairSampler(n_frames, seed=seed, rank=rank, world_size=world_size)
    again = PairSampler(np.array(n_frames), seed=seed, rank=rank, world_size=world_size)
    assert list(islice(whole.batches(batch_size), start // 10, start // 10 + 3)) == list(
        islice(again.batches(batch_size, start // 10), 3)
    )


@quick
@given(
    n_frames=st.lists(st.integers(1, 50), min_size=1, max_size=20), seed=seeds, place=st.integers(0, 10**9)
)
def test_frames_lie_in_the_clip_and_differ(n_frames, seed, place):
    key = PairSampler(n_frames, seed=seed).key(place)
    length = n_frames[key.clip]
    assert 0 <= key.source_frame < length
    assert 0 <= key.driving_frame < length
    assert (key.source_frame == key.driving_frame) == (length == 1)


def test_frame_pairs_are_uniform():
    seen = Counter(two_frames(6, 11, epoch, position) for epoch in range(30) for position in range(200))
    assert len(seen) == 30
    assert chi_square(seen, 30) < 1.7


def test_frames_of_neighbouring_epochs_are_independent():
    seen = Counter(
        (two_frames(4, 0, epoch, 5)[0], two_frames(4, 0, epoch + 1, 5)[0]) for epoch in range(4000)
    )
    assert chi_square(seen, 16) < 2


def test_the_stream_is_pinned():
    """Recorded once: a change here silently changes every seeded training run."""
    batches = PairSampler([10, 20, 30], seed=1, rank=1, world_size=2).batches(2)
    assert [tuple(key) for batch in islice(batches, 4) for key in batch] == PINNED


def test_mixing_follows_splitmix64():
    """First outputs of the published generator for seed 0 (Vigna's splitmix64.c)."""
    golden = 0x9E3779B97F4A7C15
    outputs = [mix64(golden * n % 2**64) for n in (1, 2, 3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert hash64(0) == outputs[0]
    assert (below(0, 7), below(2**64 - 1, 7)) == (0, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_frames": [], "seed": 0}, "at least one clip"),
        ({"n_frames": [4, 0], "seed": 0}, "clip 1 has 0 frames"),
        ({"n_frames": [4], "seed": -1}, "seed must lie"),
        ({"n_frames": [4], "seed": 0, "rank": 2, "world_size": 2}, r"rank must lie in 0 \.\. 1, got 2"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PairSampler(**arguments)


def test_bad_places_are_refused():
    sampler = PairSampler([4], seed=0)
    with pytest.raises(ValueError, match="place must not be negative"):
        sampler.key(-1)
    with pytest.raises(ValueError, match="batch_size must be at least the 1 ranks, got 0"):
        next(sampler.batches(0))
