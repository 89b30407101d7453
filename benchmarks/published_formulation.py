"""The generator as the published implementation computes it, to measure lia_model against.

Written from the description of the published layers: every FIR filter is a zero-stuffing and padding followed by a
convolution of all channels reshaped to images of one channel, which then are thinned out; modulated convolutions
make a copy of the weights for every sample and convolve in groups; source and driving image are encoded one after
the other. `weights` maps published names to tensors.
"""
# B batch, C channels, H height, W width, I input channels, O output channels, k kernel size

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def generate(weights: Weights, source: Tensor, driving: Tensor) -> Tensor:
    """The source with the driving image's motion: (B,3,H,W)."""
    appearance, features = encode(weights, source)
    motion, _ = encode(weights, driving)
    for i in range(5):
        motion = equal_linear(weights, f"enc.fc.{i}", motion)
    basis = torch.linalg.qr(weights["dec.direction.weight"] + 1e-8).Q
    latent = appearance + torch.sum(torch.matmul(torch.diag_embed(motion), basis.T), dim=1)
    return synthesise(weights, latent, features)


def encode(weights: Weights, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Appearance code and features, coarse to fine."""
    tower = "enc.net_app.convs"
    x = activate(equal_conv(weights, f"{tower}.0.0", image), weights[f"{tower}.0.1.bias"])
    features = []
    for i in range(1, int(math.log2(image.shape[-1])) - 1):
        features.append(x)
        x = residual_block(weights, f"{tower}.{i}", x)
    code = equal_conv(weights, f"{tower}.{len(features) + 1}", x).flatten(1)
    return code, features[::-1]


def residual_block(weights: Weights, name: str, x: Tensor) -> Tensor:
    branch = activate(equal_conv(weights, f"{name}.conv1.0", x, padding=1), weights[f"{name}.conv1.1.bias"])
    branch = resample(branch, weights[f"{name}.conv2.0.kernel"], pad=(2, 2))
    branch = equal_conv(weights, f"{name}.conv2.1", branch, stride=2)
    branch = activate(branch, weights[f"{name}.conv2.2.bias"])
    skip = resample(x, weights[f"{name}.skip.0.kernel"], pad=(1, 1))
    skip = equal_conv(weights, f"{name}.skip.1", skip, stride=2)
    return (branch + skip) / math.sqrt(2)


def synthesise(weights: Weights, latent: Tensor, features: list[Tensor]) -> Tensor:
    hidden = weights["dec.input.input"].repeat(latent.shape[0], 1, 1, 1)
    hidden = styled(weights, "dec.conv1", hidden, latent)
    flow: Tensor | None = None
    image: Tensor | None = None
    for i, feature in enumerate(features):
        hidden = styled(weights, f"dec.convs.{2 * i}", hidden, latent, upsample=True)
        hidden = styled(weights, f"dec.convs.{2 * i + 1}", hidden, latent)
        head = f"dec.to_flows.{i}"
        new_flow = modulated_conv(weights, f"{head}.conv", hidden, latent, demodulate=False)
        flow = add_upsampled(weights, head, new_flow + weights[f"{head}.bias"], flow)
        axis = torch.linspace(-1, 1, flow.shape[-1], device=flow.device)
        identity = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), 2)
        mask = torch.sigmoid(flow[:, 2:3])
        grid = torch.tanh(flow[:, 0:2]).permute(0, 2, 3, 1) + identity
        warped = F.grid_sample(feature, grid, align_corners=False) * mask
        hidden = warped + hidden * (1 - mask)
        head = f"dec.to_rgbs.{i}"
        rgb = activate(equal_conv(weights, f"{head}.conv.0", warped), weights[f"{head}.conv.1.bias"])
        image = add_upsampled(weights, head, rgb + weights[f"{head}.bias"], image)
    assert image is not None
    return image


def add_upsampled(weights: Weights, head: str, x: Tensor, coarser: Tensor | None) -> Tensor:
    if coarser is None:
        return x
    return x + resample(coarser, weights[f"{head}.upsample.kernel"], up=2, pad=(2, 1))


def styled(weights: Weights, name: str, x: Tensor, latent: Tensor, *, upsample: bool = False) -> Tensor:
    y = modulated_conv(weights, f"{name}.conv", x, latent, upsample=upsample)
    return activate(y, weights[f"{name}.activate.bias"])


def modulated_conv(
    weights: Weights, name: str, x: Tensor, latent: Tensor, *, demodulate: bool = True, upsample: bool = False
) -> Tensor:
    batch, channels, height, width = x.shape
    style = equal_linear(weights, f"{name}.modulation", latent).view(batch, 1, channels, 1, 1)
    weight_1OIkk = weights[f"{name}.weight"]
    _, out, _, k, _ = weight_1OIkk.shape
    weight = weight_1OIkk * style / math.sqrt(channels * k * k)
    if demodulate:
        weight = weight * torch.rsqrt(weight.pow(2).sum((2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, batch * channels, height, width)
    if not upsample:
        y = F.conv2d(x, weight.reshape(batch * out, channels, k, k), padding=k // 2, groups=batch)
        return y.view(batch, out, height, width)
    weight = weight.transpose(1, 2).reshape(batch * channels, out, k, k)
    y = F.conv_transpose2d(x, weight, stride=2, groups=batch)
    y = y.view(batch, out, 2 * height + 1, 2 * width + 1)
    return resample(y, weights[f"{name}.blur.kernel"], pad=(1, 1))


def resample(x: Tensor, kernel: Tensor, *, up: int = 1, pad: tuple[int, int]) -> Tensor:
    """Zero-stuff, pad and filter, all channels as images of one channel. Kernels carry their gain."""
    batch, channels, height, width = x.shape
    x = x.reshape(-1, height, 1, width, 1, 1)
    x = F.pad(x, (0, 0, 0, up - 1, 0, 0, 0, up - 1))
    x = x.reshape(-1, 1, height * up, width * up)
    x = F.pad(x, (*pad, *pad))
    y = F.conv2d(x, kernel.flip(0, 1)[None, None])
    return y.reshape(batch, channels, y.shape[2], y.shape[3])


def equal_conv(weights: Weights, name: str, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)


def equal_linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.linear(x, weight / math.sqrt(weight.shape[1]), weights[f"{name}.bias"])


def activate(x: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(x + bias, 0.2) * math.sqrt(2)
