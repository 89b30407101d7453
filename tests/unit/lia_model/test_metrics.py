import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lia_model.metrics import l1, psnr, ssim


@pytest.fixture
def images():
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(3, 3, 8, 8) * 2 - 1, size=(40, 32), mode="bicubic")
    noisy = image + torch.randn_like(image) * torch.tensor([0.02, 0.1, 0.5])[:, None, None, None]
    return image.clamp(-1, 1), noisy.clamp(-1, 1)


def as_numpy(images):
    return [((x + 1) / 2).double().permute(1, 2, 0).numpy() for x in images]


def test_ssim_agrees_with_scikit_image(images):
    expected = [
        structural_similarity(
            x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=2
        )
        for x, y in zip(*(as_numpy(batch) for batch in images), strict=True)
    ]
    np.testing.assert_allclose(ssim(*images), expected, atol=1e-5)


def test_psnr_agrees_with_scikit_image(images):
    expected = [
        peak_signal_noise_ratio(x, y, data_range=1)
        for x, y in zip(*(as_numpy(batch) for batch in images), strict=True)
    ]
    np.testing.assert_allclose(psnr(*images), expected, rtol=1e-5)


def test_known_values():
    black, white = torch.full((1, 3, 16, 16), -1.0), torch.full((1, 3, 16, 16), 1.0)
    assert l1(black, white).item() == 1
    assert psnr(black, white).item() == 0
    assert psnr(black, black + 0.2).item() == pytest.approx(20, abs=1e-4)
    assert ssim(white, white).item() == pytest.approx(1)
    assert ssim(black, white).item() == pytest.approx(1e-4, rel=0.01)  # c1 / (1 + c1)


def test_equal_images():
    image = torch.rand(2, 3, 16, 16)
    assert l1(image, image).tolist() == [0, 0]
    assert psnr(image, image).tolist() == [float("inf")] * 2


def test_images_are_clamped_first():
    bright, white = torch.full((1, 3, 16, 16), 5.0), torch.ones(1, 3, 16, 16)
    assert l1(bright, white).item() == 0
    assert ssim(bright, white).item() == pytest.approx(1)


@pytest.mark.parametrize("metric", [l1, psnr, ssim])
def test_refuses_other_shapes(metric):
    with pytest.raises(ValueError, match=r"compare two \(B,C,H,W\) batches"):
        metric(torch.zeros(1, 3, 16, 16), torch.zeros(2, 3, 16, 16))


def test_ssim_needs_a_whole_window():
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
