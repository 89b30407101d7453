"""Networks, losses and training step as the published implementation computes them, to measure lia_model against.

Written from the description of the published layers: every FIR filter is a zero-stuffing and padding followed by a
convolution of all channels reshaped to images of one channel, which then are thinned out; modulated convolutions
make a copy of the weights for every sample and convolve in groups; source and driving image are encoded one after
the other; the perceptual loss blurs whole images and then thins them out, and runs VGG19 on either image at every
scale by itself. `weights` maps published names to tensors, VGG's those of torchvision.
"""
# B batch, C channels, H height, W width, I input channels, O output channels, k kernel size

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]

# VGG19 in torchvision's numbering: convolutions by group, up to the last whose output is looked at.
VGG19_GROUPS = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28,))
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRIDES = (1, 2, 4, 8)
PERCEPTUAL_WEIGHT = 10
LEARNING_RATE = 0.002
BETA2 = 0.99


@dataclass(kw_only=True)
class Training:
    """What one step needs: the weights of three networks, and an optimiser for each of the two that learn."""

    generator: Weights
    discriminator: Weights
    vgg: Weights
    generator_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer


def prepare_training(generator: Weights, discriminator: Weights, vgg: Weights) -> Training:
    """Leaves that require gradients are trained, in place."""
    return Training(
        generator=generator,
        discriminator=discriminator,
        vgg=vgg,
        generator_optimiser=_adam(generator, 4 / 5),
        discriminator_optimiser=_adam(discriminator, 16 / 17),
    )


def _adam(weights: Weights, ratio: float) -> torch.optim.Adam:
    learning = [tensor for tensor in weights.values() if tensor.requires_grad]
    return torch.optim.Adam(learning, lr=LEARNING_RATE * ratio, betas=(0.0, BETA2**ratio))


def train_step(training: Training, source: Tensor, driving: Tensor) -> dict[str, Tensor]:
    """The generator's step, then the discriminator's on the same reconstruction; the losses, weighted."""
    training.generator_optimiser.zero_grad()
    fake = generate(training.generator, source, driving)
    frozen = {name: tensor.detach() for name, tensor in training.discriminator.items()}
    terms = {
        "l1": F.l1_loss(fake, driving),
        "perceptual": PERCEPTUAL_WEIGHT * perceptual_loss(training.vgg, fake, driving),
        "adversarial": F.softplus(-discriminate(frozen, fake)).mean(),
    }
    sum(terms.values(), start=fake.new_zeros(())).backward()
    training.generator_optimiser.step()

    training.discriminator_optimiser.zero_grad()
    real_logits = discriminate(training.discriminator, driving)
    fake_logits = discriminate(training.discriminator, fake.detach())
    terms["discriminator"] = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
    terms["discriminator"].backward()
    training.discriminator_optimiser.step()
    return {name: term.detach() for name, term in terms.items()}


def discriminate(weights: Weights, image: Tensor) -> Tensor:
    """Logits (B,1)."""
    x = activate(equal_conv(weights, "convs.0.0", image), weights["convs.0.1.bias"])
    for i in range(1, int(math.log2(image.shape[-1])) - 1):
        x = residual_block(weights, f"convs.{i}", x)
    batch, channels, height, width = x.shape
    group = min(batch, 4)
    spread = x.view(group, -1, 1, channels, height, width)
    spread = torch.sqrt(spread.var(0, unbiased=False) + 1e-8).mean([2, 3, 4], keepdim=True).squeeze(2)
    x = torch.cat([x, spread.repeat(group, 1, height, width)], 1)
    x = activate(equal_conv(weights, "final_conv.0", x, padding=1), weights["final_conv.1.bias"])
    x = F.linear(x.flatten(1), _equalised(weights["final_linear.0.weight"]))
    x = F.leaky_relu(x + weights["final_linear.0.bias"], 0.2) * math.sqrt(2)
    return equal_linear(weights, "final_linear.1", x)


def perceptual_loss(weights: Weights, image: Tensor, target: Tensor) -> Tensor:
    loss = image.new_zeros(())
    for stride in STRIDES:
        if image.shape[-1] // stride < 16:
            continue
        small_image, small_target = shrink(image, stride), shrink(target, stride)
        for x, y in zip(vgg19(weights, small_image), vgg19(weights, small_target), strict=True):
            loss = loss + (x - y.detach()).abs().mean()
    return loss


def shrink(image: Tensor, stride: int) -> Tensor:
    """Blur the whole image, then keep one pixel in `stride`."""
    if stride == 1:
        return image
    sigma = (stride - 1) / 2
    radius = round(4 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=image.device)
    taps = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = torch.outer(taps, taps)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, -1, -1)
    blurred = F.conv2d(F.pad(image, (radius,) * 4), kernel, groups=image.shape[1])
    return blurred[:, :, ::stride, ::stride]


def vgg19(weights: Weights, image: Tensor) -> list[Tensor]:
    """relu1_1, relu2_1, relu3_1, relu4_1, relu5_1."""
    mean, std = (image.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    x = ((image.clamp(-1, 1) + 1) / 2 - mean) / std
    outputs: list[Tensor] = []
    for group in VGG19_GROUPS:
        if outputs:
            x = F.max_pool2d(x, 2)
        for number in group:
            name = f"features.{number}"
            x = F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1))
            if number == group[0]:
                outputs.append(x)
    return outputs


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
    return F.linear(x, _equalised(weights[f"{name}.weight"]), weights[f"{name}.bias"])


def _equalised(weight: Tensor) -> Tensor:
    return weight / math.sqrt(weight.shape[1])


def activate(x: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(x + bias, 0.2) * math.sqrt(2)
