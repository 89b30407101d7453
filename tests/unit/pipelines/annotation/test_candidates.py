"""Decoding and suppression against numbers worked out by hand, and as properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotation.candidates import (
    Candidates,
    as_detections,
    decode,
    joined,
    keep_surest,
    merge_overlapping,
)
from pipelines.annotation.detections import Detection
from pipelines.annotation.regions import overlap


def candidates(*rows):
    """From (left, top, right, bottom, score) each."""
    table = np.array(rows, dtype=float).reshape(-1, 5)
    return Candidates(table[:, :4].reshape(-1, 2, 2), table[:, 4])


def boxes(found):
    return [tuple(points.ravel().tolist()) for points in found.points]


def test_decode_by_hand():
    anchors = np.array([(0.1, 0.1), (0.5, 0.25)], dtype=np.float32)
    # centre 10 right of and 20 above the anchor, 40 wide, 60 high; a key point 5 left of and 15 under the anchor
    raw = np.array([[0] * 6, [10, -20, 40, 60, -5, 15]], dtype=np.float32)
    found = decode(raw, np.array([-3, 0], dtype=np.float32), anchors, input_size=200, min_score=0.5)
    assert found.scores.tolist() == [0.5]
    np.testing.assert_allclose(found.points, [[(0.45, 0.0), (0.65, 0.3), (0.475, 0.325)]], atol=1e-7)


@pytest.mark.parametrize(
    ("logit", "min_score", "kept"), [(1.0, 0.73, 1), (1.0, 0.74, 0), (1e9, 1.0, 1), (-1e9, 0.0, 1)]
)
def test_decode_threshold(logit, min_score, kept):
    raw, anchors = np.ones((1, 4), dtype=np.float32), np.zeros((1, 2), dtype=np.float32)
    found = decode(raw, np.array([logit], dtype=np.float32), anchors, 100, min_score)
    assert found.points.shape == (kept, 2, 2)
    assert np.isfinite(found.scores).all()


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param((0, 0, 10, 10), 1.0, id="same"),
        pytest.param((5, 0, 15, 10), 1 / 3, id="half"),
        pytest.param((2, 2, 8, 8), 0.36, id="inside"),
        pytest.param((10, 0, 20, 10), 0.0, id="touching"),
        pytest.param((20, 20, 30, 30), 0.0, id="apart"),
        pytest.param((3, 3, 3, 3), 0.0, id="point"),
    ],
)
def test_overlap(other, expected):
    box = np.array([(0.0, 0.0), (10.0, 10.0)])
    assert overlap(np.array([other], dtype=float).reshape(1, 2, 2), box) == pytest.approx([expected])


PAIR_AND_OTHER = candidates((0, 0, 10, 10, 0.6), (50, 50, 60, 60, 0.8), (0, 0, 10, 12, 0.9))


def test_merging_averages_by_score_and_keeps_the_best_score():
    found = merge_overlapping(PAIR_AND_OTHER, 0.3)
    assert found.scores.tolist() == [0.9, 0.8]
    np.testing.assert_allclose(boxes(found), [(0, 0, 10, (12 * 0.9 + 10 * 0.6) / 1.5), (50, 50, 60, 60)])


def test_keeping_the_surest_leaves_its_box_alone():
    assert boxes(keep_surest(PAIR_AND_OTHER, 0.3)) == [(0, 0, 10, 12), (50, 50, 60, 60)]


@pytest.mark.parametrize("suppress", [merge_overlapping, keep_surest])
@pytest.mark.parametrize(
    ("given_rows", "count"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([(0, 0, 0, 0, 0.9), (0, 0, 0, 0, 0.8)], 2, id="without-area"),
        pytest.param([(0, 0, 10, 10, 0.9), (4, 0, 14, 10, 0.8), (8, 0, 18, 10, 0.7)], 2, id="chain"),
    ],
)
def test_numbers_left(suppress, given_rows, count):
    found = suppress(candidates(*given_rows), 0.3)
    assert found.points.shape == (count, 2, 2)
    assert len(found.scores) == count


coordinates = st.floats(0, 100, width=32)
rows = st.lists(
    st.tuples(coordinates, coordinates, coordinates, coordinates, st.floats(0.01, 1)).map(
        lambda row: (
            min(row[0], row[2]),
            min(row[1], row[3]),
            max(row[0], row[2]),
            max(row[1], row[3]),
            row[4],
        )
    ),
    max_size=12,
)


@given(rows, st.floats(0.05, 1))
def test_the_surest_that_are_kept_do_not_overlap_and_cover_the_rest(given_rows, limit):
    given_candidates = candidates(*given_rows)
    kept = keep_surest(given_candidates, limit)
    assert kept.scores.tolist() == sorted(kept.scores, reverse=True)
    for number, box in enumerate(kept.points):
        assert (overlap(kept.points[:number], box) < limit).all()
    for row, box in zip(given_rows, given_candidates.points, strict=True):
        assert row[:4] in boxes(kept) or overlap(kept.points, box).max() >= limit


@given(rows, st.floats(0.05, 1))
def test_merged_boxes_stay_within_what_was_merged(given_rows, limit):
    given_candidates = candidates(*given_rows)
    merged = merge_overlapping(given_candidates, limit)
    assert merged.scores.tolist() == keep_surest(given_candidates, limit).scores.tolist()
    if given_rows:
        assert (merged.points >= given_candidates.points.min(axis=0) - 1e-9).all()
        assert (merged.points <= given_candidates.points.max(axis=0) + 1e-9).all()


def test_joined():
    both = joined([PAIR_AND_OTHER, candidates(), candidates((1, 2, 3, 4, 0.5))])
    assert both.scores.tolist() == [0.6, 0.8, 0.9, 0.5]
    assert boxes(both)[3] == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((1, 2, 3, 4), (1, 2, 3, 4), id="inside"),
        pytest.param((-5, -5, 3, 4), (0, 0, 3, 4), id="left-top"),
        pytest.param((90, 40, 110, 60), (90, 40, 100, 50), id="right-bottom"),
        pytest.param((100, 0, 120, 10), None, id="outside"),
        pytest.param((5, 5, 5, 9), None, id="without-area"),
    ],
)
def test_detections_are_cut_off_at_the_frame(box, expected):
    found = as_detections(candidates((*box, 0.7)), width=100, height=50)
    assert found == ([] if expected is None else [Detection(*expected, 0.7)])
