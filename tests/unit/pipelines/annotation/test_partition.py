"""Train and test subjects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotation.partition import partition_subjects

names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40)


@given(names, st.floats(0, 1))
def test_a_subject_is_in_one_partition_and_order_is_nothing(subjects, fraction):
    partitions = partition_subjects(subjects, fraction)
    assert set(partitions) == set(subjects)
    assert partition_subjects(reversed(subjects * 2), fraction) == partitions


@given(st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_no_partition_is_left_empty(subjects, fraction):
    assert set(partition_subjects(subjects, fraction).values()) == {"train", "test"}


@pytest.mark.parametrize(("fraction", "only"), [(0.0, "train"), (1.0, "test")])
def test_all_of_one_kind_on_request(fraction, only):
    assert set(partition_subjects("abc", fraction).values()) == {only}


def test_the_fraction_is_kept_and_subjects_stay_where_they_are():
    thousand = [f"id{number}" for number in range(1000)]
    partitions = partition_subjects(thousand, 0.1)
    assert 70 < list(partitions.values()).count("test") < 130
    more = partition_subjects([*thousand, "another"], 0.1)
    assert {name: more[name] for name in thousand} == partitions
    wider = partition_subjects(thousand, 0.2)
    assert all(wider[name] == "test" for name in thousand if partitions[name] == "test")
