"""Sets of images: which frames are in them, what is stored of a clip, and what the distances are of."""

import base64

import numpy as np
import pytest
import torch

from lia_model.resnext3d import CLIP_FRAMES
from orchestration.evaluation import image_sets
from orchestration.evaluation.frechet import FeatureMoments, frechet_distance
from orchestration.evaluation.image_sets import EVERY, LENGTHS, ImageSets, SetMeasure, SetNetwork
from orchestration.evaluation.metrics import OF_SETS

SIZE = 4
DIMS = 8
NAME = "frechet_efficientnet_lite0"


@pytest.fixture(autouse=True)
def few_features(monkeypatch):
    """The distance of sets of 2,048 features takes seconds."""
    lengths = {NAME: DIMS, "fid": DIMS + 1, "video_fid": DIMS}
    monkeypatch.setattr(image_sets, "LENGTHS", lengths)


def in_a_direction(levels_N, metric):
    """Features that tell levels apart: a fixed random vector of the metric's length, times each."""
    length = image_sets.LENGTHS[metric]
    return levels_N[:, None] * torch.randn(length, generator=torch.Generator().manual_seed(0))


def of_frames(metric):
    return SetNetwork(metric, lambda image_B3HW: in_a_direction(image_B3HW.mean((1, 2, 3)), metric))


def of_movement(clips_BT3HW):
    """Stands for the network of video FID: what it sees is how much brighter the last frame is than the first."""
    levels_BT = clips_BT3HW.mean((2, 3, 4))
    assert levels_BT.shape == (1, CLIP_FRAMES)
    return in_a_direction(levels_BT[:, -1] - levels_BT[:, 0], "video_fid")


def grey(*levels: float) -> torch.Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, SIZE, SIZE)


def clip(made, true, *, network=None, transfer=False):
    measure = SetMeasure(network or of_frames(NAME), grey(0.0), transfer=transfer)
    for first in range(0, len(true), 10):  # batches that are no multiple of EVERY
        measure.add(grey(*made[first : first + 10]), grey(*true[first : first + 10]))
    assert measure.scores() == {}
    return measure.features()


def moments(levels, metric=NAME):
    found = FeatureMoments(image_sets.LENGTHS[metric])
    found.add(in_a_direction(torch.tensor(np.asarray(levels, np.float32)), metric).numpy())
    return found


def test_every_metric_of_sets_has_a_length_and_samples_of_video_neither_overlap_nor_leave_gaps():
    assert set(LENGTHS) == set(OF_SETS)
    assert EVERY == CLIP_FRAMES


@pytest.mark.parametrize("metric", [NAME, "fid"])
def test_every_sixteenth_frame_of_each_clip_is_compared_whatever_the_batches(metric):
    random = np.random.default_rng(0)
    made, true = random.uniform(-1, 1, (2, 3, 40)).astype(np.float32)
    sets = ImageSets()
    for ours, theirs in zip(made, true, strict=True):
        sets.add(clip(ours, theirs, network=of_frames(metric)))
    found = sets.distances()
    truth = moments(true[:, ::EVERY].ravel(), metric)
    expected = frechet_distance(moments(made[:, ::EVERY].ravel(), metric), truth)
    assert found[metric] == pytest.approx(expected, rel=1e-5)
    copies = moments([0.0] * true[:, ::EVERY].size, metric)
    assert found[f"baseline_{metric}"] == pytest.approx(frechet_distance(copies, truth), rel=1e-5)


def test_videos_are_compared_by_sixteen_frames_in_a_row_and_what_is_left_is_passed_over():
    random = np.random.default_rng(0)
    made, true = random.uniform(-1, 1, (2, 3, 40)).astype(np.float32)
    sets = ImageSets()
    for ours, theirs in zip(made, true, strict=True):
        sets.add(clip(ours, theirs, network=SetNetwork("video_fid", of_movement, CLIP_FRAMES)))

    def movements(levels):
        in_a_row = levels[:, :32].reshape(-1, 16)
        return in_a_row[:, -1] - in_a_row[:, 0]

    found, truth = sets.distances(), moments(movements(true), "video_fid")
    expected = frechet_distance(moments(movements(made), "video_fid"), truth)
    assert found["video_fid"] == pytest.approx(expected, rel=1e-5)
    still = frechet_distance(moments([0.0] * 6, "video_fid"), truth)
    assert found["baseline_video_fid"] == pytest.approx(still, rel=1e-5)


def test_several_metrics_of_one_clip_do_not_mix():
    levels = np.linspace(-1, 1, 64, dtype=np.float32)
    one = clip(levels, levels[::-1])
    other = clip(levels**3, levels, network=of_frames("fid"))
    apart, together = (ImageSets(), ImageSets()), ImageSets()
    for sets, features in zip(apart, (one, other), strict=True):
        sets.add(features)
    together.add({**one, **other})
    assert together.distances() == apart[0].distances() | apart[1].distances()


def test_equal_sets_are_at_no_distance_and_transfer_has_no_baseline():
    levels = np.linspace(-1, 1, 64, dtype=np.float32)
    sets = ImageSets()
    sets.add(clip(levels, levels, transfer=True))
    assert sets.distances() == {NAME: pytest.approx(0, abs=1e-6)}


def test_of_less_than_two_samples_there_is_no_distance():
    assert ImageSets().distances() == {}
    sets = ImageSets()
    sets.add(clip([0.1], [0.2]))
    sets.add(clip([0.1], [0.2], network=SetNetwork("video_fid", of_movement, CLIP_FRAMES)))
    assert sets.distances() == {}


def coded(values):
    return base64.b64encode(values.astype(np.float32).tobytes()).decode()


@pytest.mark.parametrize(
    "features",
    [
        {NAME: "no base64!"},
        {NAME: base64.b64encode(bytes(7)).decode()},
        {NAME: coded(np.full(DIMS, np.nan))},
        {NAME: coded(np.zeros(DIMS + 1))},
        {"other": coded(np.zeros(DIMS))},
        {f"true_baseline_{NAME}": coded(np.zeros(DIMS))},
        {NAME: 3},
        [],
        "text",
    ],
)
def test_damage_is_refused(features):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        ImageSets().add(features)
