from dataclasses import replace

import pytest

from orchestration.evaluation.inputs import EvaluationInputs, digest_pairs
from tests.unit.orchestration.evaluation.test_scores import inputs_of

INPUTS = inputs_of(["a", "b"])


def test_what_is_saved_is_read_again():
    assert EvaluationInputs.from_dict(INPUTS.to_dict()) == INPUTS


def test_neither_the_order_of_what_is_measured_nor_of_clips_matters():
    assert replace(INPUTS, measured=("face", "pixels")) == replace(INPUTS, measured=("pixels", "face"))
    assert digest_pairs(["a", "b"]) == digest_pairs(["b", "a"]) != digest_pairs(["a"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"model_digest": "n" * 64}, "model m, now nnnnnnnnnnnn"),
        ({"dataset_digest": "e"}, "dataset d, now e"),
        ({"partition": "train"}, "partition test, now train"),
        ({"protocol": "relative"}, "protocol reconstruction, now relative"),
        ({"measured": ("pixels", "face")}, "measured pixels, now pixels face"),
        (
            {"model_digest": "n", "partition": "train"},
            "model m, now n; partition test, now train",
        ),
    ],
)
def test_differences_are_named_with_both_values(changes, told):
    assert INPUTS.differences(replace(INPUTS, **changes)) == told


def test_other_clips_are_a_difference():
    assert "pairs of clips" in INPUTS.differences(inputs_of(["a"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": "other"},
        {"protocol": []},
        {"measured": ["other"]},
        {"measured": "pixels"},
        {"measured": [1]},
        {"measured": None},
        {"pairs": 1},
        {"model_digest": None},
        {"more": "x"},
    ],
)
def test_anything_else_is_refused(changes):
    with pytest.raises((ValueError, TypeError)):
        EvaluationInputs.from_dict({**INPUTS.to_dict(), **changes})
    with pytest.raises((ValueError, AttributeError)):
        EvaluationInputs.from_dict([])
