from dataclasses import replace

import pytest

from orchestration.evaluation.intervals import Interval
from orchestration.evaluation.paired import DifferentClipsError, PairedComparison, compare_evaluations
from tests.unit.orchestration.evaluation.test_scores import clip_score, evaluation_of

CLIPS = dict(zip("abcdef", (0.1, 0.3, 0.2, 0.4, 0.15, 0.25), strict=True))
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
    found = PairedComparison(
        clips=6,
        measured={"l1": 6, "psnr": 6},
        lost={"l1": 0, "psnr": 0},
        gained={"l1": 0, "psnr": 0},
        differences={"l1": difference, "psnr": difference},
        means={},
    )
    assert (found.verdict("l1"), found.verdict("psnr")) == (lower_is_better, higher_is_better)


def test_differences_are_taken_clip_by_clip():
    old, new = ([clip_score(name, l1 - less) for name, l1 in CLIPS.items()] for less in (0, 0.05))
    found = compare_evaluations(evaluation_of(*new), evaluation_of(*old))
    assert found.clips == 6
    assert (found.differences["l1"].low, found.differences["l1"].high) == pytest.approx((-0.05, -0.05))
    assert (found.verdict("l1"), found.verdict("ssim")) == ("better", "undecided")


def with_faces(*akds: float | None):
    scores = [clip_score(str(number), 0.1) for number in range(len(akds))]
    return evaluation_of(
        *(
            replace(score, values={**score.values, "face_akd": akd})
            for score, akd in zip(scores, akds, strict=True)
        )
    )


def test_clips_that_a_model_fails_in_do_not_make_it_better():
    """It would be compared on the easy ones alone."""
    old = with_faces(*[2.0] * 6, 9.0)
    easy = [1.0, 1.1, 1.2] * 2
    found = compare_evaluations(with_faces(*easy, None), old)
    assert (found.measured["face_akd"], found.lost["face_akd"]) == (6, 1)
    assert found.means["face_akd"] == pytest.approx((1.1, 2.0))
    assert found.differences["face_akd"].high < 0
    assert found.verdict("face_akd") == "undecided"
    assert found.extent("face_akd") == "6 clips (1 more have a score of the other alone)"
    assert compare_evaluations(old, with_faces(*easy, None)).verdict("face_akd") == "worse"
    assert compare_evaluations(with_faces(*easy, 3.0), old).verdict("face_akd") == "better"


@pytest.mark.parametrize(("missed", "verdict"), [(0.9, "undecided"), (0.0, "better")])
def test_frames_that_a_model_fails_in_do_not_make_it_better(missed, verdict):
    """A clip's AKD is of the frames in which the detector found a face."""

    def evaluation(akd: float, missed: float):
        found = with_faces(*[akd + 0.01 * number for number in range(6)])
        clips = [replace(clip, values={**clip.values, "face_missed": missed}) for clip in found.clips]
        return replace(found, clips=clips)

    found = compare_evaluations(evaluation(1.0, missed), evaluation(2.0, 0.0))
    assert found.verdict("face_akd") == verdict
    assert ("worse by faces lost" in found.extent("face_akd")) == (verdict == "undecided")
    assert compare_evaluations(evaluation(2.0, 0.0), evaluation(1.0, missed)).verdict("face_akd") == "worse"


def test_one_clip_with_a_score_decides_nothing():
    found = compare_evaluations(with_faces(1.0, *[None] * 9), with_faces(2.0, *[None] * 9))
    assert found.verdict("face_akd") == "undecided"


def test_what_neither_measured_is_left_out():
    assert "face_akd" not in compare_evaluations(OLD, OLD).differences


@pytest.mark.parametrize("clips", [1, 5])
def test_few_clips_decide_nothing(clips):
    names = list(CLIPS)[:clips]
    old, new = (evaluation_of(*(clip_score(name, l1) for name in names)) for l1 in (0.9, 0.1))
    found = compare_evaluations(new, old)
    assert found.verdict("l1") == "undecided"
    assert found.extent("l1") == f"{clips} clips (6 at least can decide)"


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


def test_clips_that_failed_for_either_are_not_compared_and_told():
    """The damage was the data's: it speaks against neither model."""
    names = list("abcdefghi")
    better = evaluation_of(*(clip_score(name, 0.1) for name in names[:-1]), failures={"i": "cut"})
    worse = evaluation_of(*(clip_score(name, 0.2) for name in names[1:]), failures={"a": "cut"})
    found = compare_evaluations(better, worse)
    assert (found.clips, found.failed, found.measured["l1"], found.lost["l1"]) == (7, 2, 7, 0)
    assert found.verdict("l1") == "better"
    assert found.extent("l1") == "7 clips (2 failed for one or both and are not compared)"


def test_where_every_clip_failed_for_one_nothing_is_compared():
    found = compare_evaluations(
        evaluation_of(clip_score("a", 0.1), failures={"b": "cut"}),
        evaluation_of(clip_score("b", 0.1), failures={"a": "cut"}),
    )
    assert (found.clips, found.failed, dict(found.differences)) == (0, 2, {})


@pytest.mark.parametrize(("new", "partly"), [([1.0] * 7, True), ([None] + [1.0] * 6, False)])
def test_it_is_known_where_the_means_are_of_other_clips_than_those_compared(new, partly):
    found = compare_evaluations(with_faces(*new), with_faces(None, *[2.0] * 6))
    assert found.partly_measured("face_akd") == partly
    assert not found.partly_measured("l1")
    assert found.means["face_akd"] == (1.0, 2.0)
