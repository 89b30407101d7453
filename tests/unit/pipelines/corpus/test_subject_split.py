"""Who is tested on: a pure function of the names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.subject_split import choose_test_subjects
from pipelines.errors import InputError

NAMES = [f"id{number:05d}" for number in range(100)]


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        pytest.param(100, 0.1, 10, id="a-share"),
        pytest.param(5, 0.1, 1, id="at-least-one"),
        pytest.param(3, 0.99, 2, id="never-all"),
        pytest.param(1, 0.5, 0, id="a-single-subject-is-trained-on"),
        pytest.param(100, 0.0, 0, id="none-asked-for"),
        pytest.param(0, 0.1, 0, id="nobody"),
    ],
)
def test_how_many(count, fraction, expected):
    assert len(choose_test_subjects(NAMES[:count], fraction)) == expected


@given(st.permutations(NAMES[:20]))
def test_order_and_repetition_do_not_matter(names):
    assert choose_test_subjects([*names, *names[:7]], 0.3) == choose_test_subjects(NAMES[:20], 0.3)


def test_the_choice_is_no_matter_of_the_alphabet():
    assert choose_test_subjects(NAMES, 0.1) != frozenset(NAMES[:10])


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_what_is_no_share_is_refused(fraction):
    with pytest.raises(InputError, match="--test-fraction"):
        choose_test_subjects(NAMES, fraction)
