import pytest
import torch
from torch import nn

from lia_model.feature_distance import FeatureDistance


class Pixels(nn.Module):
    """The image itself and a fourfold of its first two channels as features."""

    def forward(self, image):
        return [image, 4 * image[:, :2]]


@pytest.fixture
def distance():
    return FeatureDistance(Pixels(), [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0])])


def pixels(*colours):
    """An image (1,3,1,W)."""
    return torch.tensor(colours).T[None, :, None, :]


def test_by_hand(distance):
    x, y = pixels((3.0, 4.0, 0.0), (1.0, 0.0, 0.0)), pixels((0.0, 0.0, 2.0), (5.0, 0.0, 0.0))
    # Of unit length, the left pixels are (.6, .8, 0) and (0, 0, 1), with two channels (.6, .8) and (0, 0);
    # the right pixels are equal. So half of 1 * .36 + 2 * .64 + 3 * 1, and half of 10 * .36 + 20 * .64.
    torch.testing.assert_close(distance(x, y), torch.tensor([4.64 / 2 + 16.4 / 2]))
    torch.testing.assert_close(distance(y, x), distance(x, y))


def test_equal_images_are_at_zero_and_brightness_does_not_count(distance):
    x = torch.rand(2, 3, 4, 5)
    assert distance(x, x).tolist() == [0, 0]
    torch.testing.assert_close(distance(x, x * 7), torch.zeros(2), rtol=0, atol=1e-6)


def test_where_nothing_answers_there_is_no_division_by_zero(distance):
    assert distance(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).tolist() == [0]
    assert distance(pixels((0.0, 0.0, 0.0)), pixels((0.0, 0.0, 9.0))).tolist() == [3]


def test_each_image_by_itself_and_one_against_many(distance):
    x, y = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4)
    each = torch.cat([distance(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(distance(x, y), each)
    against_first = distance.between(distance.features(x[:1]), distance.features(y))
    torch.testing.assert_close(against_first, distance(x[:1].expand(3, -1, -1, -1), y))


def test_nothing_is_learned(distance):
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_a_weight_vector_a_layer():
    with pytest.raises(ValueError, match="zip"):
        FeatureDistance(Pixels(), [torch.ones(3)])(torch.rand(1, 3, 2, 2), torch.rand(1, 3, 2, 2))
