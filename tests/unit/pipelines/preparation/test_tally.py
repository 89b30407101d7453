"""A clip counts once, however often it is told of."""

from collections import Counter

from pipelines.preparation.tally import Tally


def test_a_clip_that_is_told_of_again_counts_by_its_last_reason():
    tally = Tally()
    tally.add({"a": "", "b": "crashed_decoder"})
    assert tally.counts() == Counter({"": 1, "crashed_decoder": 1})
    tally.add({"b": "", "c": ""})
    tally.add({"a": ""})
    assert tally.counts() == Counter({"": 3})
    assert "crashed_decoder" not in tally.counts()


def test_beginnings_are_counted_by_shard():
    tally = Tally()
    assert [tally.begin("train-000000"), tally.begin("train-000000"), tally.begin("test-000000")] == [1, 2, 1]
