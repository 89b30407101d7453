"""Generators on disk: a folder with `config.json` (its sizes) and `model.safetensors` (its tensors)."""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lia_model.config import LiaConfig
from lia_model.generator import Generator

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_FORMAT = "lia-generator"
_FORMAT_VERSION = 1
_NAMES_SHOWN = 3


class WeightsError(ValueError):
    """Weights cannot be used. The message is one line with the file, what is wrong with it and the remedy."""


def save_generator(folder: Path | str, generator: Generator) -> None:
    """Write a generator's sizes and weights to `folder`; each file appears whole or not at all."""
    save_tensors(folder, generator.config, generator.state_dict())


def save_tensors(folder: Path | str, config: LiaConfig, state: Mapping[str, Tensor]) -> None:
    """As `save_generator`, of a generator's sizes and its state dict."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    document = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "model": asdict(config)}
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    _write_atomically(folder / WEIGHTS_FILE, lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    _write_atomically(
        folder / CONFIG_FILE, lambda path: path.write_text(json.dumps(document, indent=2) + "\n")
    )


def load_generator(folder: Path | str) -> Generator:
    """Read what `save_generator` wrote, on the CPU. Raises WeightsError for anything else."""
    folder = Path(folder)
    config = _read_config(folder / CONFIG_FILE)
    generator = Generator(config)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; a model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); copy or save it again"
        ) from error
    load_tensors(generator, tensors, str(path))
    return generator


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Fill `module` with `tensors`, which must be exactly its own by name, shape and kind of number."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    check_shapes(expected, tensors, origin)
    module.load_state_dict(tensors)


def check_shapes(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], origin: str) -> None:
    """Raise WeightsError unless `tensors` has the expected names and shapes, in floating point."""
    if missing := expected.keys() - tensors.keys():
        raise WeightsError(f"{origin}: lacks {_some(missing)}; it holds another model, or was cut")
    if unknown := tensors.keys() - expected.keys():
        raise WeightsError(f"{origin}: holds unknown tensors {_some(unknown)}; it is another model")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            raise WeightsError(
                f"{origin}: {name} has shape {tuple(tensor.shape)} where the model has {shape}; "
                "use weights and config of the same model"
            )
        if not tensor.is_floating_point():
            raise WeightsError(f"{origin}: {name} holds {tensor.dtype}, not floating-point numbers")


def _read_config(path: Path) -> LiaConfig:
    try:
        document: Any = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; name a folder that holds a saved model") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise WeightsError(f'{path}: not a saved generator: "format" is not "{_FORMAT}"')
    if document.get("format_version") != _FORMAT_VERSION:
        raise WeightsError(
            f"{path}: format_version {document.get('format_version')}, but this version reads {_FORMAT_VERSION}"
        )
    try:
        return LiaConfig(**document["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: bad model configuration: {error}") from error


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    # Not tempfile: its files are private to the user, and a model gets the ordinary permissions.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        write(beside)
        with beside.open("rb+") as file_to_sync:
            os.fsync(file_to_sync.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:_NAMES_SHOWN])
    return shown if len(ordered) <= _NAMES_SHOWN else f"{shown} and {len(ordered) - _NAMES_SHOWN} more"
