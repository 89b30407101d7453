"""A trained generator as the start of one with more motion directions or another image size.

The larger generator computes what the smaller one did, so that fine-tuning begins where training ended:

- Directions are appended to the motion basis. The Q of a QR decomposition has its first columns from the first
  columns of the matrix alone, and the new directions' magnitudes begin at zero: the images stay the same.
- A finer image is halved on its way in and doubled on its way out, with the model's own low-pass filter. The new
  encoder block hands the colours through to what was the stem, the new synthesis stage adds nothing to the coarser
  image and follows the coarser flow. All of it can be trained.
- For a coarser image the finest parts are left out. Their share of the features is lost but for plain colours, which
  the new stem is fitted to.
"""
# C channels, N colours; 6: each of three colours and its negative

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor, nn

from lia_model.config import LiaConfig
from lia_model.encoder import Encoder, ResidualBlock
from lia_model.generator import Generator
from lia_model.layers import LEAKY_SLOPE, EqualConv2d, EqualLinear
from lia_model.motion import MotionBasis, MotionHead
from lia_model.synthesis import Synthesis, SynthesisStage
from lia_model.weights import WeightsError

# Leaky ReLU keeps a value whole in a pair of channels: f(x) - f(-x) = (1 + slope) x.
_PAIR_GAIN = 1 + LEAKY_SLOPE
_PAIRED = 6
# The plain colours: so many shades of each primary, images so many pixels a side.
_SHADES = 7
_PLAIN_SIDE = 16


def adapt_generator(generator: Generator, config: LiaConfig, *, seed: int) -> Generator:
    """A generator of the sizes in `config` that begins with what `generator` has learned; on the CPU.

    `seed` fixes the parameters that are new. Raises WeightsError where the sizes cannot be brought together.
    """
    require_adaptable(generator.config, config)
    for step in _size_by_size(generator.config, config):
        generator = _next_generator(generator, step, seed)
    return generator


def require_adaptable(found: LiaConfig, wanted: LiaConfig) -> None:
    """Raise WeightsError unless a generator of sizes `found` can become one of sizes `wanted`."""
    if found.motion_dim > wanted.motion_dim:
        raise WeightsError(
            f"the model has {found.motion_dim} motion directions, {wanted.motion_dim} are wanted: directions can be "
            f"added, not taken away; set motion_dim to {found.motion_dim} or more"
        )
    different = ["style_dim"] if found.style_dim != wanted.style_dim else []
    shared = (4, *found.resolutions()[: len(wanted.resolutions())])
    if any(found.channels(resolution) != wanted.channels(resolution) for resolution in shared):
        different += [
            name for name in ("width", "channel_multiplier") if getattr(found, name) != getattr(wanted, name)
        ]
    if different:
        listed = " and ".join(
            f"{name} = {getattr(found, name)} (wanted: {getattr(wanted, name)})" for name in different
        )
        raise WeightsError(f"the model has {listed}; these cannot be changed: ask for what the model has")


def _size_by_size(found: LiaConfig, wanted: LiaConfig) -> Iterator[LiaConfig]:
    """From the one's size to the other's in factors of two; the first has all directions."""
    size = found.image_size
    while size > wanted.image_size:  # parts on their way out keep their own channels
        yield replace(found, motion_dim=wanted.motion_dim, image_size=size)
        size //= 2
    while size <= wanted.image_size:
        yield replace(wanted, image_size=size)
        size *= 2


@torch.no_grad()
def _next_generator(before: Generator, config: LiaConfig, seed: int) -> Generator:
    """A generator of `config`, which is of the same size, twice or half of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        after = Generator(config).to(before.motion_basis.weight.dtype)
    _append_directions(before.motion_head, after.motion_head, before.motion_basis, after.motion_basis)
    _adapt_encoder(before.encoder, after.encoder)
    _adapt_synthesis(before.synthesis, after.synthesis)
    return after


def _append_directions(
    head: MotionHead, wider_head: MotionHead, basis: MotionBasis, wider_basis: MotionBasis
) -> None:
    """Old directions in place, new ones after them with magnitudes of zero."""
    count = basis.weight.shape[1]
    wider_basis.weight[:, :count] = basis.weight
    *layers, last = head.layers
    *wider_layers, wider_last = wider_head.layers
    _copy_each(layers, wider_layers)
    assert isinstance(last, EqualLinear)
    assert isinstance(wider_last, EqualLinear)
    for given, filled in ((last.weight, wider_last.weight), (last.bias, wider_last.bias)):
        filled.zero_()
        filled[:count] = given


def _adapt_encoder(before: Encoder, after: Encoder) -> None:
    """Blocks by resolution; the finest one reads what the stem makes."""
    _copy_each([before.head], [after.head])
    _copy_each(before.blocks[::-1], after.blocks[::-1])
    if len(after.blocks) > len(before.blocks):
        finest = after.blocks[0]
        assert isinstance(finest, ResidualBlock)
        _pass_colours(after.stem, finest, before.stem)
    elif len(after.blocks) < len(before.blocks):
        _fit_plain_colours(after.stem, nn.Sequential(before.stem, before.blocks[0]))
    else:
        _copy_each([before.stem], [after.stem])


def _adapt_synthesis(before: Synthesis, after: Synthesis) -> None:
    """Stages by resolution; a new one leaves flow and image as the coarser stage has them."""
    after.constant.copy_(before.constant)
    _copy_each([before.first], [after.first])
    _copy_each(before.stages, after.stages)
    for stage in after.stages[len(before.stages) :]:
        assert isinstance(stage, SynthesisStage)
        stage.flow.weight.zero_()
        stage.image.conv.weight.zero_()


def _copy_each(given: Iterable[nn.Module], filled: Iterable[nn.Module]) -> None:
    """Copy parameters from module to module, as far as both go."""
    for source, target in zip(given, filled, strict=False):
        target.load_state_dict(source.state_dict())


def _pass_colours(stem: EqualConv2d, block: ResidualBlock, coarser_stem: EqualConv2d) -> None:
    """Make block(stem(image)) what `coarser_stem` makes of the image at half its size.

    Each colour and its negative take a pair of channels through the stem and the first convolution. The second one,
    behind the low-pass filter, takes the place of the coarser stem; like it, it has act. The other channels keep
    their initial weights on the way there, so that they have something to tell as soon as they are listened to.
    """
    paired_63 = torch.eye(3).repeat_interleave(2, 0) * torch.tensor([1.0, -1.0]).repeat(3)[:, None]
    paired_63 = paired_63.to(stem.weight)
    stem.weight[:_PAIRED, :, 0, 0] = paired_63 / stem.weight_gain
    unpaired_36 = paired_63.mT / _PAIR_GAIN
    block.conv.weight[:_PAIRED] = 0
    block.conv.weight[:_PAIRED, :_PAIRED, 1, 1] = paired_63 @ unpaired_36 / block.conv.weight_gain
    block.down.weight.zero_()
    weight_C3 = coarser_stem.weight[:, :, 0, 0] * coarser_stem.weight_gain
    block.down.weight[:, :_PAIRED, 1, 1] = weight_C3 @ unpaired_36 / block.down.weight_gain
    assert block.down.bias is not None
    assert coarser_stem.bias is not None
    block.down.bias.copy_(coarser_stem.bias * coarser_stem.gain / block.down.gain)
    block.skip.weight.zero_()


def _fit_plain_colours(stem: EqualConv2d, finer: nn.Sequential) -> None:
    """Fit `stem` to what the finer stem and block make of images of one colour: least squares, channel by channel.

    Errors count as they are after act: where it is flat, less.
    """
    colours_N3 = torch.tensor(list(product(torch.linspace(-1, 1, _SHADES).tolist(), repeat=3)))
    colours_N3 = colours_N3.to(stem.weight)
    images = colours_N3[:, :, None, None].expand(-1, -1, _PLAIN_SIDE, _PLAIN_SIDE)
    wanted_CN = finer(images)[:, :, _PLAIN_SIDE // 4, _PLAIN_SIDE // 4].mT  # far from the border's zeros
    slope_CN = torch.where(wanted_CN < 0, LEAKY_SLOPE, 1.0).to(wanted_CN)
    terms_N4 = torch.cat((colours_N3, torch.ones_like(colours_N3[:, :1])), 1)
    scaled_CN4 = slope_CN[:, :, None] * terms_N4
    fitted_C4: Tensor = torch.linalg.lstsq(scaled_CN4, wanted_CN[:, :, None]).solution.squeeze(2)
    assert stem.bias is not None
    stem.weight.copy_(fitted_C4[:, :3, None, None] / stem.weight_gain)
    stem.bias.copy_(fitted_C4[:, 3] / stem.gain)
