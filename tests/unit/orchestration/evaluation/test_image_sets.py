"""Sets of images: which frames are in them, what is stored of a clip, and what the distances are of."""

import base64

import numpy as np
import pytest
import torch

from lia_model.efficientnet import FEATURES
from orchestration.evaluation.frechet import FeatureMoments, frechet_distance
from orchestration.evaluation.image_sets import EVERY, NAME, ImageSets, SetMeasure

SIZE = 4


def network(image_B3HW):
    """Features that tell images apart: the mean of the image, times a fixed random vector."""
    direction = torch.randn(FEATURES, generator=torch.Generator().manual_seed(0))
    return image_B3HW.mean((1, 2, 3))[:, None] * direction


def grey(*levels: float) -> torch.Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, SIZE, SIZE)


def clip(made, true, *, transfer=False):
    measure = SetMeasure(network, grey(0.0), transfer=transfer)
    for first in range(0, len(true), 10):  # batches that are no multiple of EVERY
        measure.add(grey(*made[first : first + 10]), grey(*true[first : first + 10]))
    return measure.features()


def moments(levels):
    found = FeatureMoments()
    found.add(network(grey(*levels)).numpy())
    return found


def test_every_sixteenth_frame_of_each_clip_is_compared_whatever_the_batches():
    random = np.random.default_rng(0)
    made, true = random.uniform(-1, 1, (2, 3, 40)).astype(np.float32)
    sets = ImageSets()
    for ours, theirs in zip(made, true, strict=True):
        sets.add(clip(ours, theirs))
    found = sets.distances()
    truth = moments(true[:, ::EVERY].ravel())
    assert found[NAME] == pytest.approx(frechet_distance(moments(made[:, ::EVERY].ravel()), truth), rel=1e-5)
    copies = moments([0.0] * true[:, ::EVERY].size)
    assert found[f"baseline_{NAME}"] == pytest.approx(frechet_distance(copies, truth), rel=1e-5)


def test_equal_sets_are_at_no_distance_and_transfer_has_no_baseline():
    levels = np.linspace(-1, 1, 64, dtype=np.float32)
    sets = ImageSets()
    sets.add(clip(levels, levels, transfer=True))
    assert sets.distances() == {NAME: pytest.approx(0, abs=1e-6)}


def test_of_less_than_two_images_there_is_no_distance():
    assert ImageSets().distances() == {}
    sets = ImageSets()
    sets.add(clip([0.1], [0.2]))
    assert sets.distances() == {}


@pytest.mark.parametrize(
    "features",
    [
        {"": "no base64!"},
        {"": base64.b64encode(bytes(7)).decode()},
        {"": base64.b64encode(np.full(FEATURES, np.nan, np.float32).tobytes()).decode()},
        {"other": base64.b64encode(bytes(4 * FEATURES)).decode()},
        {"": 3},
        [],
        "text",
    ],
)
def test_damage_is_refused(features):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        ImageSets().add(features)
