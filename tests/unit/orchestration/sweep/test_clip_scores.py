"""Metrics of clips as objectives: which clips, and what their mean is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lia_model.pixels import to_float
from orchestration.evaluation.transfer import TransferPair
from orchestration.sweep import clip_scores
from orchestration.sweep.clip_scores import clip_numbers, mean_scores, require_detected
from pipelines.errors import InputError
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


class Clips:
    """Twenty frames each; the grey level of all is the clip's number."""

    n_frames = np.array([20, 20, 2])

    def __init__(self, location, partition):
        assert partition == "test"
        self.asked = ASKED

    def __len__(self):
        return len(self.n_frames)

    def frames(self, clip, numbers):
        self.asked.append((clip, list(numbers)))
        return np.full((len(numbers), 8, 8, 3), clip, np.uint8)


ASKED: list = []


class Detector:
    """Finds something in frames of the one clip."""

    def __init__(self, groups, weights):
        assert weights == {"of": groups}

    def measures(self, source_13HW, *, transfer):
        assert not transfer
        return [self]

    def add(self, made_B3HW, frames_B3HW):
        assert torch.equal(made_B3HW, frames_B3HW)
        shown_3HW = to_float(torch.full((8, 8, 3), SHOWN, dtype=torch.uint8))
        self._found = torch.equal(frames_B3HW[0], shown_3HW)

    def scores(self):
        return {"body_akd": 0.0 if self._found else None, "baseline_body_akd": 1.0}


SHOWN = 1


@pytest.fixture
def clips(monkeypatch):
    ASKED.clear()
    monkeypatch.setattr(clip_scores, "PairDataset", Clips)
    monkeypatch.setattr(clip_scores, "Instruments", Detector)
    monkeypatch.setattr(clip_scores, "read_weights", lambda groups: {"of": groups})


def test_clips_are_looked_at_until_one_shows_what_is_compared(clips):
    require_detected(small_plan(objectives=("body_akd",), clips=0), ["body"])
    assert ASKED == [(0, [0, 5, 10, 15]), (1, [0, 5, 10, 15])]


def test_clips_that_show_nothing_to_compare_are_refused_before_anything_is_trained(clips, monkeypatch):
    monkeypatch.setattr(f"{__name__}.SHOWN", 7)
    plan = small_plan(objectives=("l1", "body_akd"), clips=0)
    with pytest.raises(InputError, match=r"--objective body_akd: no body is found .* 3 held-out clips"):
        require_detected(plan, ["body"])
    assert ASKED[-1] == (2, [0, 1])


def test_nothing_is_looked_at_for_metrics_that_need_no_detector(clips):
    require_detected(small_plan(objectives=("lpips",)), ["lpips"])
    assert ASKED == []
