import pytest

from orchestration.evaluation.intervals import Interval
from orchestration.evaluation.paired import DifferentClipsError, PairedComparison, compare_evaluations
from tests.unit.orchestration.evaluation.test_scores import clip_score, evaluation_of

OLD = evaluation_of(clip_score("a", 0.1), clip_score("b", 0.3))


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "higher_is_better"),
    [
        pytest.param(-0.2, -0.1, "better", "worse", id="below"),
        pytest.param(0.1, 0.2, "worse", "better", id="above"),
        pytest.param(-0.1, 0.1, "undecided", "undecided", id="around"),
        pytest.param(-0.1, 0.0, "undecided", "undecided", id="touching"),
        pytest.param(0.0, 0.0, "undecided", "undecided", id="equal"),
    ],
)
def test_verdict(low, high, lower_is_better, higher_is_better):
    difference = Interval((low + high) / 2, low, high)
    found = PairedComparison(clips=2, differences={"l1": difference, "psnr": difference})
    assert (found.verdict("l1"), found.verdict("psnr")) == (lower_is_better, higher_is_better)


def test_differences_are_taken_clip_by_clip():
    new = evaluation_of(clip_score("a", 0.05), clip_score("b", 0.25))
    found = compare_evaluations(new, OLD)
    assert found.clips == 2
    assert (found.differences["l1"].low, found.differences["l1"].high) == pytest.approx((-0.05, -0.05))
    assert (found.verdict("l1"), found.verdict("ssim")) == ("better", "undecided")


def test_one_clip_decides_nothing():
    found = compare_evaluations(evaluation_of(clip_score("a", 0.1)), evaluation_of(clip_score("a", 0.9)))
    assert found.verdict("l1") == "undecided"


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(evaluation_of(clip_score("a", 0.1)), id="fewer"),
        pytest.param(evaluation_of(clip_score("a", 0.1), clip_score("c", 0.3)), id="others"),
        pytest.param(evaluation_of(*OLD.clips, dataset="other"), id="dataset"),
    ],
)
def test_other_clips_are_not_compared(new):
    with pytest.raises(
        DifferentClipsError, match=r"different clips \(. test clips of dataset .*; 2 test clips"
    ):
        compare_evaluations(new, OLD)
