"""Metrics of clips as objectives: which clips, and what their mean is."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestration.evaluation.transfer import TransferPair
from orchestration.sweep import clip_scores
from orchestration.sweep.clip_scores import clip_numbers, mean_scores
from tests.small_study import small_plan


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [
        (5, 0, [0, 1, 2, 3, 4]),
        (5, 8, [0, 1, 2, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (5, 2, [0, 2]),
        (100, 4, [0, 25, 50, 75]),
        (7, 3, [0, 2, 4]),
        (0, 3, []),
    ],
)
def test_clips_are_spread_evenly(count, most, expected):
    assert list(clip_numbers(count, most)) == expected


@given(count=st.integers(0, 500), most=st.integers(0, 500))
def test_every_clip_at_most_once_and_as_many_as_asked(count, most):
    numbers = list(clip_numbers(count, most))
    assert numbers == sorted(set(numbers))
    assert all(0 <= number < count for number in numbers)
    assert len(numbers) == (min(count, most) if most else count)


ROWS = [
    {"clip_id": "a", "n_frames": 20, "face_akd": 1.0, "face_aed": 0.5},
    {"clip_id": "b", "n_frames": 30, "face_akd": None, "face_aed": None},
    {"clip_id": "c", "n_frames": 40, "face_akd": 3.0, "face_aed": None},
    {"clip_id": "d", "n_frames": 40, "face_akd": 8.0, "face_csim": None},
]


@pytest.mark.parametrize(
    ("clips", "scored", "means"),
    [
        (0, [0, 1, 2, 3], {"face_akd": 4.0, "face_aed": 0.5}),
        (2, [0, 2], {"face_akd": 2.0, "face_aed": 0.5}),
        (1, [0], {"face_akd": 1.0, "face_aed": 0.5}),
    ],
)
def test_means_are_over_the_clips_that_have_a_score(clips, scored, means, monkeypatch):
    asked = []

    def score(generator, dataset, pair, protocol, instruments):
        asked.append((pair, protocol))
        return ROWS[pair.source]

    monkeypatch.setattr(clip_scores, "load_model", lambda _: torch.nn.Linear(1, 1))
    monkeypatch.setattr(clip_scores, "PairDataset", lambda location, partition: ROWS)
    monkeypatch.setattr(clip_scores, "Instruments", lambda *_: SimpleNamespace())
    monkeypatch.setattr(clip_scores, "score", score)
    assert mean_scores("model", small_plan(clips=clips), ("face",), {}) == means
    assert asked == [(TransferPair(clip, clip), "reconstruction") for clip in scored]
