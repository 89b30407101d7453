"""Generator, discriminator written a second time, as the equations read and with no thought of speed.

Weights are asked for by published name and shape, so that the reference also states what a published checkpoint
holds. Everything is float64 and differentiable. Nothing here is shared with lia_model.
"""
# B batch, C channels, H height, W width, S style_dim, M motion_dim

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a model, its channels given one by one."""

    image_size: int
    style_dim: int
    motion_dim: int
    channels: dict[int, int]

    def resolutions(self) -> list[int]:
        return [resolution for resolution in sorted(self.channels) if 8 <= resolution <= self.image_size]


def generate(weights: Weights, sizes: Sizes, source: Tensor, driving: Tensor | None = None) -> Tensor:
    """Equation by equation: encode, decompose the motion, synthesise."""
    appearance, features = encode(weights, sizes, source)
    if driving is not None:
        magnitudes = motion(weights, sizes, encode(weights, sizes, driving)[0])
        appearance = appearance + displacement(weights, sizes, magnitudes)
    return synthesise(weights, sizes, appearance, features)


def generate_relative(
    weights: Weights, sizes: Sizes, source: Tensor, driving: Tensor, start: Tensor
) -> Tensor:
    appearance, features = encode(weights, sizes, source)
    own, moved, began = (
        motion(weights, sizes, encode(weights, sizes, image)[0]) for image in (source, driving, start)
    )
    latent = appearance + displacement(weights, sizes, moved - began) + displacement(weights, sizes, own)
    return synthesise(weights, sizes, latent, features)


def encode(weights: Weights, sizes: Sizes, image: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """Appearance code and the features by resolution."""
    x, features = tower(weights, sizes, "enc.net_app.", image)
    last = len(features) + 1
    name = f"enc.net_app.convs.{last}.weight"
    code = convolve(x, weights(name, sizes.style_dim, sizes.channels[4], 4, 4))
    return code[:, :, 0, 0], features


def tower(weights: Weights, sizes: Sizes, prefix: str, image: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    channels = sizes.channels
    resolution = sizes.image_size
    first = channels[resolution]
    x = convolve(image, weights(f"{prefix}convs.0.0.weight", first, 3, 1, 1))
    x = act(x, weights(f"{prefix}convs.0.1.bias", 1, first, 1, 1))
    features = {}
    number = 1
    while resolution > 4:
        features[resolution] = x
        before, after = channels[resolution], channels[resolution // 2]
        block = f"{prefix}convs.{number}"
        branch = convolve(x, weights(f"{block}.conv1.0.weight", before, before, 3, 3), padding=1)
        branch = act(branch, weights(f"{block}.conv1.1.bias", 1, before, 1, 1))
        branch = low_pass(branch, pad=(2, 2))
        branch = convolve(branch, weights(f"{block}.conv2.1.weight", after, before, 3, 3))[:, :, ::2, ::2]
        branch = act(branch, weights(f"{block}.conv2.2.bias", 1, after, 1, 1))
        skip = low_pass(x, pad=(1, 1))
        skip = convolve(skip, weights(f"{block}.skip.1.weight", after, before, 1, 1))[:, :, ::2, ::2]
        x = (branch + skip) / math.sqrt(2)
        resolution //= 2
        number += 1
    return x, features


def motion(weights: Weights, sizes: Sizes, code: Tensor) -> Tensor:
    rows = [sizes.style_dim] * 4 + [sizes.motion_dim]
    for number, count in enumerate(rows):
        code = linear(weights, f"enc.fc.{number}", code, count)
    return code


def directions(weights: Weights, sizes: Sizes) -> Tensor:
    """The Q of a QR decomposition by Gram-Schmidt, one column after the other.

    Gram-Schmidt makes R's diagonal positive, LAPACK leaves it as Householder's method has it. Checkpoints were
    trained with LAPACK's signs, so these, and nothing else, are taken from there.
    """
    matrix = weights("dec.direction.weight", sizes.style_dim, sizes.motion_dim) + 1e-8
    signs = torch.linalg.qr(matrix.detach()).R.diagonal().sign()
    columns: list[Tensor] = []
    for number in range(sizes.motion_dim):
        rest = matrix[:, number]
        for _ in range(2):  # twice is enough: the second pass removes what rounding left over
            for column in columns:
                rest = rest - column * (column @ rest)
        columns.append(signs[number] * rest / rest.norm())
    return torch.stack(columns, 1)


def displacement(weights: Weights, sizes: Sizes, magnitudes: Tensor) -> Tensor:
    basis = directions(weights, sizes)
    return torch.stack([sum(a * basis[:, m] for m, a in enumerate(sample)) for sample in magnitudes])


def synthesise(weights: Weights, sizes: Sizes, latent: Tensor, features: dict[int, Tensor]) -> Tensor:
    before = sizes.channels[4]
    constant = weights("dec.input.input", 1, before, 4, 4)
    hidden = torch.cat([constant] * len(latent))
    hidden = styled(weights, "dec.conv1", hidden, latent, before)
    flow: Tensor | None = None
    image: Tensor | None = None
    for stage, resolution in enumerate(sizes.resolutions()):
        after = sizes.channels[resolution]
        hidden = styled(weights, f"dec.convs.{2 * stage}", hidden, latent, after, upsample=True)
        hidden = styled(weights, f"dec.convs.{2 * stage + 1}", hidden, latent, after)

        head = f"dec.to_flows.{stage}"
        new = modulated(weights, f"{head}.conv", hidden, latent, 3, kernel=1, demodulate=False)
        new = new + weights(f"{head}.bias", 1, 3, 1, 1)
        flow = new if flow is None else new + zero_stuffed_low_pass(flow)
        mask = 1 / (1 + torch.exp(-flow[:, 2:3]))
        warped = warp(features[resolution], torch.tanh(flow[:, :2])) * mask
        hidden = warped + hidden * (1 - mask)

        head = f"dec.to_rgbs.{stage}"
        new = convolve(warped, weights(f"{head}.conv.0.weight", 3, after, 1, 1))
        new = act(new, weights(f"{head}.conv.1.bias", 1, 3, 1, 1)) + weights(f"{head}.bias", 1, 3, 1, 1)
        image = new if image is None else new + zero_stuffed_low_pass(image)
    assert image is not None
    return image


def styled(
    weights: Weights, name: str, x: Tensor, latent: Tensor, channels: int, *, upsample: bool = False
) -> Tensor:
    y = modulated(weights, f"{name}.conv", x, latent, channels, kernel=3, demodulate=True, upsample=upsample)
    return act(y, weights(f"{name}.activate.bias", 1, channels, 1, 1))


def modulated(
    weights: Weights,
    name: str,
    x: Tensor,
    latent: Tensor,
    channels: int,
    *,
    kernel: int,
    demodulate: bool,
    upsample: bool = False,
) -> Tensor:
    """One sample at a time, each with its own copy of the weights."""
    before = x.shape[1]
    style = linear(weights, f"{name}.modulation", latent, before)
    shared = weights(f"{name}.weight", 1, channels, before, kernel, kernel)[0] / math.sqrt(before * kernel**2)
    outputs = []
    for sample, factors in zip(x, style, strict=True):
        own = shared * factors[None, :, None, None]
        if demodulate:
            own = own / torch.sqrt((own**2).sum((1, 2, 3), keepdim=True) + 1e-8)
        if upsample:
            # A transposed convolution is a convolution of the zero-stuffed image with the mirrored kernel.
            stuffed = F.pad(zero_stuff(sample[None])[:, :, :-1, :-1], (2, 2, 2, 2))
            outputs.append(low_pass(F.conv2d(stuffed, own.flip(2, 3)), pad=(1, 1), gain=4))
        else:
            outputs.append(F.conv2d(sample[None], own, padding=kernel // 2))
    return torch.cat(outputs)


def warp(feature: Tensor, flow: Tensor) -> Tensor:
    """Sample `feature` at identity + flow (x, y): bilinear from the four neighbours, zero outside.

    Position -1 is the image's left edge, not the centre of its first pixel.
    """
    batch, channels, height, width = feature.shape
    ys = torch.linspace(-1, 1, height, dtype=flow.dtype)[:, None]
    xs = torch.linspace(-1, 1, width, dtype=flow.dtype)[None]
    x = ((flow[:, 0] + xs + 1) * width - 1) / 2
    y = ((flow[:, 1] + ys + 1) * height - 1) / 2
    left, top = x.detach().floor(), y.detach().floor()
    warped = torch.zeros_like(feature)
    for column in (left, left + 1):
        for row in (top, top + 1):
            share = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = (row * width + column).where(inside, 0).long()
            picked = feature.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, channels, -1))
            warped = warped + picked.view(batch, channels, height, width) * (share * inside)[:, None]
    return warped


def low_pass(x: Tensor, *, pad: tuple[int, int], gain: float = 1) -> Tensor:
    """Pad with zeros and sum the sixteen shifted copies, weighted by [1,3,3,1] x [1,3,3,1] / 64."""
    x = F.pad(x, (*pad, *pad))
    height, width = x.shape[2] - 3, x.shape[3] - 3
    total = torch.zeros_like(x[:, :, :height, :width])
    for i, vertical in enumerate((1, 3, 3, 1)):
        for j, horizontal in enumerate((1, 3, 3, 1)):
            total = total + x[:, :, i : i + height, j : j + width] * (gain * vertical * horizontal / 64)
    return total


def zero_stuff(x: Tensor) -> Tensor:
    """A zero behind every sample, in both directions: (B,C,H,W) -> (B,C,2H,2W)."""
    batch, channels, height, width = x.shape
    stuffed = x.new_zeros(batch, channels, height, 2, width, 2)
    stuffed[:, :, :, 0, :, 0] = x
    return stuffed.reshape(batch, channels, 2 * height, 2 * width)


def zero_stuffed_low_pass(x: Tensor) -> Tensor:
    return low_pass(zero_stuff(x), pad=(2, 1), gain=4)


def convolve(x: Tensor, weight: Tensor, *, padding: int = 0) -> Tensor:
    """Convolution at the equalised learning rate, without bias."""
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), padding=padding)


def linear(weights: Weights, name: str, x: Tensor, rows: int) -> Tensor:
    weight, bias = weights(f"{name}.weight", rows, x.shape[1]), weights(f"{name}.bias", rows)
    return x @ (weight / math.sqrt(x.shape[1])).T + bias


def act(x: Tensor, bias: Tensor) -> Tensor:
    x = x + bias
    return torch.where(x >= 0, x, 0.2 * x) * math.sqrt(2)


def discriminate(weights: Weights, sizes: Sizes, image: Tensor) -> Tensor:
    """Logits (B,1)."""
    x, _ = tower(weights, sizes, "", image)
    batch, channels = x.shape[:2]
    group = min(batch, 4)
    groups = batch // group
    spread = []
    for number in range(groups):  # samples number, number + groups, number + 2 * groups, ...
        members = x[number::groups]
        variance = ((members - members.mean(0)) ** 2).mean(0)
        spread.append(torch.sqrt(variance + 1e-8).mean())
    extra = torch.stack([spread[sample % groups] for sample in range(batch)])
    x = torch.cat([x, extra[:, None, None, None].expand(batch, 1, 4, 4)], 1)
    x = convolve(x, weights("final_conv.0.weight", channels, channels + 1, 3, 3), padding=1)
    x = act(x, weights("final_conv.1.bias", 1, channels, 1, 1)).flatten(1)
    x = linear(weights, "final_linear.0", x, channels)
    x = torch.where(x >= 0, x, 0.2 * x) * math.sqrt(2)
    return linear(weights, "final_linear.1", x, 1)
