import math

import pytest
import torch

from lia_model.losses import (
    PerceptualLoss,
    PyramidL1,
    discriminator_loss,
    generator_adversarial_loss,
)
from lia_model.vgg import VggFeatures


def test_adversarial_losses_at_known_logits():
    undecided, sure = torch.zeros(4, 1), torch.full((4, 1), 50.0)
    assert generator_adversarial_loss(undecided).item() == pytest.approx(math.log(2))
    assert generator_adversarial_loss(-sure).item() == pytest.approx(50)
    assert discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(sure, -sure).item() == pytest.approx(0, abs=1e-6)
    assert discriminator_loss(-sure, sure).item() == pytest.approx(100)


def test_generator_loss_does_not_saturate():
    """Where the discriminator is sure of a fake, the generator's gradient is at its largest."""
    logits = torch.tensor([[-20.0], [0.0], [20.0]], requires_grad=True)
    generator_adversarial_loss(logits).backward()
    torch.testing.assert_close(logits.grad * 3, torch.tensor([[-1.0], [-0.5], [0.0]]), rtol=0, atol=1e-6)


def test_l1_at_full_size_is_the_mean_absolute_difference():
    total, _ = PyramidL1((1,))(torch.ones(1, 3, 4, 4), torch.full((1, 3, 4, 4), -0.5))
    assert total.item() == 1.5


def test_pyramid_l1_of_a_constant_difference():
    total, per_scale = PyramidL1((1, 1 / 2))(torch.ones(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))
    assert per_scale[0] == 1
    assert 0.9 < per_scale[1] < 1  # the zero padding's share
    assert total == per_scale.sum()


@pytest.fixture(scope="module")
def perceptual():
    torch.manual_seed(0)
    return PerceptualLoss(VggFeatures("vgg16"))


def test_perceptual_loss_is_zero_for_equal_images_and_positive_otherwise(perceptual):
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    total, per_scale = perceptual(image, image)
    assert total == 0
    assert per_scale.shape == (2,)
    total, per_scale = perceptual(image, -image)
    assert (per_scale > 0).all()
    assert total == per_scale.sum()


def test_perceptual_gradients_reach_the_image_alone(perceptual):
    image = (torch.rand(1, 3, 32, 32) - 0.5).requires_grad_()
    target = (torch.rand(1, 3, 32, 32) - 0.5).requires_grad_()
    perceptual(image, target)[0].backward()
    assert image.grad is not None
    assert image.grad.any()
    assert target.grad is None
    assert all(parameter.grad is None for parameter in perceptual.parameters())
