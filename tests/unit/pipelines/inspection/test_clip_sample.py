import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.inspection.clip_sample import evenly, share_out, spread


@pytest.mark.parametrize(
    ("groups", "count", "expected"),
    [
        pytest.param([0, 0, 0, 1, 2], 3, [0, 3, 4], id="one-of-each"),
        pytest.param([0, 0, 0, 1, 2], 4, [0, 3, 4, 1], id="then-a-second"),
        pytest.param([5, 5], 9, [0, 1], id="no-more-than-there-are"),
        pytest.param([], 3, [], id="none"),
    ],
)
def test_spread_takes_every_group_before_any_twice(groups, count, expected):
    assert spread(np.array(groups, np.int64), count) == expected


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 30))
def test_spread_gives_distinct_clips_of_as_many_groups_as_it_can(groups, count):
    chosen = spread(np.array(groups), count)
    assert len(set(chosen)) == len(chosen) == min(count, len(groups))
    assert len({groups[index] for index in chosen}) == min(count, len(set(groups)))


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        pytest.param([100, 100], [16, 8], id="by-weight"),
        pytest.param([100, 3], [21, 3], id="few-of-the-second"),
        pytest.param([4, 100], [4, 20], id="few-of-the-first"),
        pytest.param([4, 3], [4, 3], id="few-of-both"),
        pytest.param([100, 0], [24, 0], id="none-of-the-second"),
    ],
)
def test_what_one_lacks_the_other_gives(available, expected):
    assert share_out(available, 24, [2.0, 1.0]) == expected


@pytest.mark.parametrize(("n_frames", "expected"), [(96, [0, 24, 48, 71, 95]), (3, [0, 1, 2]), (1, [0])])
def test_frames_lie_evenly_from_the_first_to_the_last(n_frames, expected):
    assert evenly(n_frames, 5) == expected
