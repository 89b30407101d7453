import math

import pytest
import torch

from lia_model.gaussian import GaussianDownscale, GaussianPyramid


@pytest.mark.parametrize(("scale", "side"), [(1 / 2, 5), (1 / 4, 13), (1 / 8, 29)])
def test_kernel_covers_four_sigma(scale, side):
    kernel = GaussianDownscale(scale).kernel
    assert kernel.shape == (side, side)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    sigma = (1 / scale - 1) / 2
    middle = side // 2
    ratio = kernel[middle, middle + 1] / kernel[middle, middle]
    assert ratio.item() == pytest.approx(math.exp(-1 / (2 * sigma**2)), rel=1e-5)


def test_constant_images_stay_constant_inside():
    image = torch.full((1, 3, 64, 64), 0.5)
    small = GaussianDownscale(1 / 4)(image)
    assert small.shape == (1, 3, 16, 16)
    torch.testing.assert_close(small[..., 2:-2, 2:-2], image[..., 2:14, 2:14])
    assert (small[..., 0, 0] < 0.5).all()  # zero padding darkens the border


@pytest.mark.parametrize(("size", "sides"), [(128, [128, 64, 32, 16]), (64, [64, 32, 16]), (16, [16])])
def test_scales_under_16_pixels_are_left_out(size, sides):
    assert [level.shape[-1] for level in GaussianPyramid()(torch.zeros(1, 3, size, size))] == sides


def test_full_scale_is_the_image_itself():
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(GaussianPyramid((1.0,))(image)[0], image)


@pytest.mark.parametrize("scales", [(), (0.0,), (0.3,), (2.0,), (-1.0,)])
def test_refuses_other_scales(scales):
    with pytest.raises(ValueError, match="scale"):
        GaussianPyramid(scales)
