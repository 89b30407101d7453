"""VGG16-HED distance and LPIPS with seeded weights, against the same computed by numpy in float64."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lia_model.alexnet import ALEXNET_CHANNELS
from lia_model.vgg import VGG_CHANNELS, VggFeatures, load_vgg
from lia_model.weights import WeightsError
from orchestration.evaluation.perceptual import (
    lpips,
    vgg16_hed_distance,
)

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])[:, None, None]
IMAGENET_STD = np.array([0.229, 0.224, 0.225])[:, None, None]


def images(n, size, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# The reference: one image (C,H,W), plain numpy, float64.


def convolved(x_CHW, weight, bias, stride, padding):
    x_CHW = np.pad(x_CHW, ((0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x_CHW, weight.shape[2:], axis=(1, 2))
    return (
        np.einsum("chwyx,ocyx->ohw", windows[:, ::stride, ::stride], weight, optimize=True)
        + bias[:, None, None]
    )


def pooled(x_CHW, size, stride):
    windows = np.lib.stride_tricks.sliding_window_view(x_CHW, (size, size), axis=(1, 2))
    return windows[:, ::stride, ::stride].max((3, 4))


def alexnet_features(image, state):
    """(index, stride, padding) of each convolution; pooling 3 / 2 before the second and the third."""
    x = ((image.numpy().astype(np.float64) + 1) / 2 - IMAGENET_MEAN) / IMAGENET_STD
    for index, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
        x = pooled(x, 3, 2) if index in (3, 6) else x
        weight, bias = (state[f"features.{index}.{part}"].double().numpy() for part in ("weight", "bias"))
        x = convolved(x, weight, bias, stride, padding).clip(min=0)
        yield x


def unit(x_CHW):
    lengths = np.sqrt(np.square(x_CHW).sum(0))
    return x_CHW / np.where(lengths == 0, 1, lengths)


# Weights by seed.


@pytest.fixture(scope="module")
def alexnet_state():
    random = torch.Generator().manual_seed(1)
    kernels = {0: 11, 3: 5, 6: 3, 8: 3, 10: 3}
    state = {}
    for (index, kernel), (before, after) in zip(
        kernels.items(), pairwise((3, *ALEXNET_CHANNELS)), strict=True
    ):
        scale = (2 / (before * kernel**2)) ** 0.5
        state[f"features.{index}.weight"] = (
            torch.randn(after, before, kernel, kernel, generator=random) * scale
        )
        state[f"features.{index}.bias"] = torch.randn(after, generator=random) * 0.1
    return state


@pytest.fixture(scope="module")
def linear_state():
    random = torch.Generator().manual_seed(2)
    return {
        f"lin{layer}.model.1.weight": torch.rand(1, channels, 1, 1, generator=random)
        for layer, channels in enumerate(ALEXNET_CHANNELS)
    }


@pytest.fixture(scope="module")
def lpips_files(alexnet_state, linear_state, tmp_path_factory):
    """torchvision's and LPIPS's files as they would be with other numbers."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save({**alexnet_state, "classifier.6.bias": torch.zeros(1000)}, folder / "alexnet.pth")
    torch.save(linear_state, folder / "alex.pth")
    return folder / "alexnet.pth", folder / "alex.pth"


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16_hed.safetensors"
    torch.manual_seed(3)
    save_file(VggFeatures("vgg16").state_dict(), path)
    return path


def test_lpips_is_the_papers_equation(lpips_files, alexnet_state, linear_state):
    image, target = images(2, 63, seed=4), images(2, 63, seed=5)
    expected = []
    for x, y in zip(image, target, strict=True):
        features = zip(alexnet_features(x, alexnet_state), alexnet_features(y, alexnet_state), strict=True)
        weights = [tensor.double().numpy()[0] for tensor in linear_state.values()]
        expected.append(
            sum(
                (w * np.square(unit(a) - unit(b))).sum(0).mean()
                for w, (a, b) in zip(weights, features, strict=True)
            )
        )
    found = lpips(*lpips_files)(image, target)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_lpips_of_equal_images_is_zero_and_grows_with_noise(lpips_files):
    metric = lpips(*lpips_files)
    image, noise = images(1, 64), images(1, 64, seed=9)
    near, far = metric(image, 0.9 * image + 0.1 * noise), metric(image, 0.5 * image + 0.5 * noise)
    assert metric(image, image.clone()).tolist() == [0]
    assert 0 < near.item() < far.item()


def test_lpips_refuses_linear_weights_of_another_network(lpips_files, linear_state, tmp_path):
    torch.save({**linear_state, "lin1.model.1.weight": torch.zeros(1, 128, 1, 1)}, tmp_path / "vgg.pth")
    with pytest.raises(WeightsError, match=r"vgg\.pth: lin1\.model\.1\.weight has shape \(1, 128, 1, 1\)"):
        lpips(lpips_files[0], tmp_path / "vgg.pth")


def test_vgg16_hed_distance_is_one_minus_the_mean_cosine(vgg_file):
    image, target = images(2, 32, seed=4), images(2, 32, seed=5)
    features = load_vgg(vgg_file).double()
    layers = zip(features(image.double()), features(target.double()), strict=True)
    similarities = [torch.cosine_similarity(x, y, dim=1).mean((1, 2)) for x, y in layers]
    assert len(similarities) == len(VGG_CHANNELS)
    expected = 1 - torch.stack(similarities).mean(0)
    metric = vgg16_hed_distance(vgg_file)
    torch.testing.assert_close(metric(image, target).double(), expected, rtol=1e-4, atol=1e-6)
    assert metric(image, image.clone()).tolist() == [0, 0]
    assert ((metric(image, target) > 0) & (metric(image, target) < 1)).all()
