"""Reads checkpoints of the published LIA implementation: torch pickles, read without running pickled code.

A checkpoint is {"gen": state_dict}, or also has "dis", the optimisers and the command line ("args"), or is a
bare state dict. Sizes are not recorded in it and follow from the tensors' shapes.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from lia_model.config import LiaConfig
from lia_model.discriminator import Discriminator
from lia_model.generator import Generator
from lia_model.plain_data import load_plain_data
from lia_model.weights import WeightsError, check_shapes, load_tensors

Shape = tuple[int, ...]
_REMEDY = "use a checkpoint of the published LIA generator"
_PUBLISHED_FULL_WIDTH = 512
_PUBLISHED_WIDTH_AT_64 = 256


@dataclass(frozen=True)
class PublishedTensor:
    """Where a tensor of a published state dict goes: our name for it, or None for what LIA never uses."""

    name: str
    shape: Shape
    ours: str | None


def load_generator(path: Path | str) -> Generator:
    """The generator of a published checkpoint, on the CPU. Raises WeightsError."""
    state = _network(_read(path), "gen", path)
    config = _infer_config(state, path)
    generator = Generator(config)
    load_tensors(generator, _translate(state, generator_layout(config), path), str(path))
    return generator


def load_discriminator(path: Path | str) -> Discriminator:
    """The discriminator of a published checkpoint that has one, on the CPU. Raises WeightsError."""
    state = _network(_read(path), "dis", path)
    config = _infer_discriminator_config(state, path)
    discriminator = Discriminator(config)
    load_tensors(discriminator, _translate(state, discriminator_layout(config), path), str(path))
    return discriminator


def holds_discriminator(path: Path | str) -> bool:
    """Whether a checkpoint has a discriminator beside its generator. Raises WeightsError."""
    checkpoint = _read(path)
    return isinstance(checkpoint, Mapping) and "dis" in checkpoint


def generator_layout(config: LiaConfig) -> list[PublishedTensor]:
    """Every tensor of the published generator of these sizes, in its own order."""
    return [*_encoder(config), *_motion(config), *_synthesis(config)]


def discriminator_layout(config: LiaConfig) -> list[PublishedTensor]:
    """Every tensor of the published discriminator of these sizes, in its own order."""
    top = config.channels(4)
    return [
        *_tower(config, "", ""),
        PublishedTensor("final_conv.0.weight", (top, top + 1, 3, 3), "conv.weight"),
        PublishedTensor("final_conv.1.bias", (1, top, 1, 1), "conv.bias"),
        PublishedTensor("final_linear.0.weight", (top, top * 16), "hidden.weight"),
        PublishedTensor("final_linear.0.bias", (top,), "hidden.bias"),
        PublishedTensor("final_linear.1.weight", (1, top), "logit.weight"),
        PublishedTensor("final_linear.1.bias", (1,), "logit.bias"),
    ]


def _tower(config: LiaConfig, theirs: str, ours: str) -> Iterator[PublishedTensor]:
    """Stem and residual blocks, the same in encoder and discriminator."""
    fine_to_coarse = (*reversed(config.resolutions()), 4)
    channels = [config.channels(resolution) for resolution in fine_to_coarse]
    yield PublishedTensor(f"{theirs}convs.0.0.weight", (channels[0], 3, 1, 1), f"{ours}stem.weight")
    yield PublishedTensor(f"{theirs}convs.0.1.bias", (1, channels[0], 1, 1), f"{ours}stem.bias")
    for i, (before, after) in enumerate(pairwise(channels)):
        block, our_block = f"{theirs}convs.{i + 1}", f"{ours}blocks.{i}"
        yield PublishedTensor(f"{block}.conv1.0.weight", (before, before, 3, 3), f"{our_block}.conv.weight")
        yield PublishedTensor(f"{block}.conv1.1.bias", (1, before, 1, 1), f"{our_block}.conv.bias")
        yield _kernel(f"{block}.conv2.0")
        yield PublishedTensor(f"{block}.conv2.1.weight", (after, before, 3, 3), f"{our_block}.down.weight")
        yield PublishedTensor(f"{block}.conv2.2.bias", (1, after, 1, 1), f"{our_block}.down.bias")
        yield _kernel(f"{block}.skip.0")
        yield PublishedTensor(f"{block}.skip.1.weight", (after, before, 1, 1), f"{our_block}.skip.weight")


def _encoder(config: LiaConfig) -> Iterator[PublishedTensor]:
    yield from _tower(config, "enc.net_app.", "encoder.")
    last = len(config.resolutions()) + 1
    shape = (config.style_dim, config.channels(4), 4, 4)
    yield PublishedTensor(f"enc.net_app.convs.{last}.weight", shape, "encoder.head.weight")


def _motion(config: LiaConfig) -> Iterator[PublishedTensor]:
    style = config.style_dim
    for i, rows in enumerate((style, style, style, style, config.motion_dim)):
        yield PublishedTensor(f"enc.fc.{i}.weight", (rows, style), f"motion_head.layers.{i}.weight")
        yield PublishedTensor(f"enc.fc.{i}.bias", (rows,), f"motion_head.layers.{i}.bias")
    yield PublishedTensor("dec.direction.weight", (style, config.motion_dim), "motion_basis.weight")


def _synthesis(config: LiaConfig) -> Iterator[PublishedTensor]:
    style = config.style_dim
    channels = [config.channels(resolution) for resolution in (4, *config.resolutions())]
    yield PublishedTensor("dec.input.input", (1, channels[0], 4, 4), "synthesis.constant")
    yield from _modulated("dec.conv1", "synthesis.first", channels[0], channels[0], style)
    yield from _image_head("dec.to_rgb1", None, channels[0])
    for i, (before, after) in enumerate(pairwise(channels)):
        ours = f"synthesis.stages.{i}"
        yield from _modulated(f"dec.convs.{2 * i}", f"{ours}.up", before, after, style)
        yield _kernel(f"dec.convs.{2 * i}.conv.blur")
        yield from _modulated(f"dec.convs.{2 * i + 1}", f"{ours}.refine", after, after, style)
        yield from _image_head(f"dec.to_rgbs.{i}", f"{ours}.image", after)
        yield _kernel(f"dec.to_rgbs.{i}.upsample")
        yield from _flow_head(f"dec.to_flows.{i}", f"{ours}.flow", after, style)
        yield _kernel(f"dec.to_flows.{i}.upsample")


def _modulated(theirs: str, ours: str, before: int, after: int, style: int) -> Iterator[PublishedTensor]:
    yield PublishedTensor(f"{theirs}.conv.weight", (1, after, before, 3, 3), f"{ours}.weight")
    yield from _modulation(theirs, ours, before, style)
    yield PublishedTensor(f"{theirs}.noise.weight", (1,), None)
    yield PublishedTensor(f"{theirs}.activate.bias", (1, after, 1, 1), f"{ours}.bias")


def _modulation(theirs: str, ours: str, channels: int, style: int) -> Iterator[PublishedTensor]:
    name = f"{theirs}.conv.modulation"
    yield PublishedTensor(f"{name}.weight", (channels, style), f"{ours}.modulation.weight")
    yield PublishedTensor(f"{name}.bias", (channels,), f"{ours}.modulation.bias")


def _image_head(theirs: str, ours: str | None, channels: int) -> Iterator[PublishedTensor]:
    parts: list[tuple[str, Shape, str]] = [
        ("bias", (1, 3, 1, 1), "bias"),
        ("conv.0.weight", (3, channels, 1, 1), "conv.weight"),
        ("conv.1.bias", (1, 3, 1, 1), "conv.bias"),
    ]
    for part, shape, our_part in parts:
        yield PublishedTensor(f"{theirs}.{part}", shape, ours and f"{ours}.{our_part}")


def _flow_head(theirs: str, ours: str, channels: int, style: int) -> Iterator[PublishedTensor]:
    yield PublishedTensor(f"{theirs}.bias", (1, 3, 1, 1), f"{ours}.bias")
    yield PublishedTensor(f"{theirs}.conv.weight", (1, 3, channels, 1, 1), f"{ours}.weight")
    yield from _modulation(theirs, ours, channels, style)


def _kernel(module: str) -> PublishedTensor:
    """A filter buffer: constant, so ours is not read from files."""
    return PublishedTensor(f"{module}.kernel", (4, 4), None)


def _translate(
    state: Mapping[str, Tensor], layout: list[PublishedTensor], path: Path | str
) -> dict[str, Tensor]:
    """Published names to ours; the tensors lose the axes of length 1 that ours do without."""
    check_shapes({tensor.name: tensor.shape for tensor in layout}, state, str(path))
    used = ((tensor.ours, state[tensor.name]) for tensor in layout if tensor.ours is not None)
    return {ours: _without_unit_axes(ours, tensor) for ours, tensor in used}


def _without_unit_axes(ours: str, tensor: Tensor) -> Tensor:
    if ours.endswith(".bias"):
        return tensor.flatten()
    if tensor.dim() == 5:
        tensor = tensor[0]
    return tensor.flatten(1) if ours.endswith("flow.weight") else tensor


def _infer_config(state: Mapping[str, Tensor], path: Path | str) -> LiaConfig:
    style_dim, motion_dim = _shape(state, "dec.direction.weight", 2, path)
    return _sized_config(state, "enc.net_app.convs", path, style_dim=style_dim, motion_dim=motion_dim)


def _infer_discriminator_config(state: Mapping[str, Tensor], path: Path | str) -> LiaConfig:
    return _sized_config(state, "convs", path)


def _sized_config(state: Mapping[str, Tensor], tower: str, path: Path | str, **dims: int) -> LiaConfig:
    """Image size, width and channel multiplier from the tower's number of blocks and their channels."""
    pattern = re.compile(re.escape(tower) + r"\.(\d+)\.skip\.1\.weight")
    blocks = sum(1 for name in state if pattern.fullmatch(name))
    top, _ = _shape(state, f"{tower}.{max(blocks, 1)}.skip.1.weight", 4, path)[:2]
    width, multiplier = top / _PUBLISHED_FULL_WIDTH, 1
    if blocks >= 4:  # 64 px or more
        at_64 = _shape(state, f"{tower}.{blocks - 3}.conv1.0.weight", 4, path)[0]
        multiplier = max(1, round(at_64 / (_PUBLISHED_WIDTH_AT_64 * width)))
    try:
        size = 1 << (blocks + 2)
        return LiaConfig(image_size=size, channel_multiplier=multiplier, width=width, **dims)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}; {_REMEDY}") from error


def _shape(state: Mapping[str, Tensor], name: str, dims: int, path: Path | str) -> Shape:
    if name not in state:
        raise WeightsError(f"{path}: no tensor {name}; {_REMEDY}")
    shape = tuple(state[name].shape)
    if len(shape) != dims or 0 in shape:
        raise WeightsError(f"{path}: {name} has shape {shape}, not {dims} axes; {_REMEDY}")
    return shape


def _network(checkpoint: object, key: str, path: Path | str) -> dict[str, Tensor]:
    """One network's state dict, from a checkpoint of several or from a bare state dict."""
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(f"{path}: holds a {type(checkpoint).__name__}, not a state dict; {_REMEDY}")
    state = checkpoint.get(key, checkpoint)
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f'{path}: "{key}" is not a state dict; {_REMEDY}')
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise WeightsError(f'{path}: has no "{key}", and {name!r} is a {kind}, not a tensor; {_REMEDY}')
    return dict(state)


def _read(path: Path | str) -> Any:
    # The published trainer pickles its argparse.Namespace. That class is a bag of attributes: rebuilding one fills
    # its __dict__ and calls nothing, so it is let through and then ignored.
    return load_plain_data(path, harmless=[argparse.Namespace])
