import math

import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.discriminator import Discriminator, append_minibatch_stddev


@pytest.mark.parametrize("size", [32, 64, 128])
def test_one_logit_an_image(size):
    discriminator = Discriminator(LiaConfig(image_size=size, width=1 / 64))
    assert discriminator(torch.zeros(3, 3, size, size)).shape == (3, 1)


def test_stddev_of_two_samples():
    x = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    x[1] = 2
    extra = append_minibatch_stddev(x)[:, 1]
    torch.testing.assert_close(extra, torch.full_like(extra, math.sqrt(1 + 1e-8)))


def test_groups_interleave():
    """Of eight samples, those of even and of odd index are compared among themselves."""
    x = torch.zeros(8, 2, 4, 4, dtype=torch.float64)
    x[[0, 4]] = 2
    extra = append_minibatch_stddev(x)[:, 2, 0, 0]
    assert extra[1::2].max() < 1e-3
    torch.testing.assert_close(extra[::2], torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize(("batch", "group"), [(1, 1), (3, 3), (5, 1), (6, 3)])
def test_any_batch_size_is_split_evenly(batch, group):
    extra = append_minibatch_stddev(torch.randn(batch, 2, 4, 4))[:, 2, 0, 0]
    assert len(extra.unique()) == batch // group or group == 1


def test_every_parameter_gets_a_gradient(toy_config):
    torch.manual_seed(0)
    discriminator = Discriminator(toy_config)
    discriminator(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_large_model_can_be_built():
    with torch.device("meta"):
        assert len(Discriminator(LiaConfig(image_size=1024)).blocks) == 8
