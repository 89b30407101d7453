"""Augmentation treats both images of a pair alike and depends on the pair's key alone."""

import pytest
import torch

from orchestration.experiment import DataConfig
from orchestration.training.augmentation import augment, hue_rotation, jitter_colours
from pipelines.dataset.sampler import PairKey

KEYS = [PairKey(clip=0, source_frame=0, driving_frame=1, epoch=0, position=p) for p in range(32)]


def pairs() -> torch.Tensor:
    one = torch.rand(32, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return one.expand(-1, 2, -1, -1, -1).contiguous()


@pytest.mark.parametrize(
    "config", [DataConfig(flip=True), DataConfig(colour_jitter=0.3), DataConfig(flip=True, colour_jitter=0.1)]
)
def test_both_images_are_treated_alike_and_stay_in_range(config):
    augmented = augment(pairs(), config, KEYS, seed=1)
    assert torch.equal(augmented[:, 0], augmented[:, 1])
    assert not torch.equal(augmented, pairs())
    assert augmented.min() >= -1
    assert augmented.max() <= 1


def test_off_by_default():
    assert torch.equal(augment(pairs(), DataConfig(), KEYS, seed=1), pairs())


def test_flip_mirrors_about_half_of_the_pairs():
    augmented = augment(pairs(), DataConfig(flip=True), KEYS, seed=1)
    mirrored = [torch.equal(a, p.flip(-1)) for a, p in zip(augmented, pairs(), strict=True)]
    kept = [torch.equal(a, p) for a, p in zip(augmented, pairs(), strict=True)]
    assert all(m or k for m, k in zip(mirrored, kept, strict=True))
    assert 8 <= sum(mirrored) <= 24


def test_a_pair_is_augmented_alike_in_any_batch():
    config = DataConfig(flip=True, colour_jitter=0.2)
    whole = augment(pairs(), config, KEYS, seed=1)
    half = augment(pairs()[16:], config, KEYS[16:], seed=1)
    torch.testing.assert_close(whole[16:], half)
    assert not torch.equal(whole, augment(pairs(), config, KEYS, seed=2))


def test_no_strength_changes_nothing():
    torch.testing.assert_close(jitter_colours(pairs(), torch.zeros(32, 4)), pairs(), atol=1e-6, rtol=0)


def test_hue_rotation_keeps_grey_and_lengths_and_closes_after_a_circle():
    angle = torch.tensor([0.7, 2 * torch.pi], dtype=torch.float64)
    rotation = hue_rotation(angle)
    grey = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(rotation @ grey, grey.expand(2, 3))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    torch.testing.assert_close(rotation[1], torch.eye(3, dtype=torch.float64))
