"""Reads torch's pickle-based files without running pickled code: tensors and plain values or nothing."""

import pickle
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lia_model.weights import WeightsError

_REPLACE = "replace it with a whole copy"
# What torch's restricted unpickler raises for damaged files, besides UnpicklingError.
_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


def load_plain_data(path: Path | str, *, harmless: Sequence[type] = ()) -> Any:
    """Unpickle tensors, plain values and instances of `harmless` classes, onto the CPU.

    A pickle that would import or call anything else is refused. Raises WeightsError, in one line.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise WeightsError(f"{path}: {what}; give the path of a file that torch.save wrote")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: the file is empty; {_REPLACE}")
    try:
        with torch.serialization.safe_globals(list(harmless)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's explanation is a page with advice to turn the protection off; only the cause is wanted.
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise WeightsError(
                f"{path}: refused: its pickle wants {wanted[1]}, which is not plain data; use a file of tensors alone"
            ) from error
        raise WeightsError(f"{path}: not a torch file, or a damaged one; {_REPLACE}") from error
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: not a torch file, or a damaged one; {_REPLACE}") from error


def load_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Tensors by name, onto the CPU, from a .safetensors file or one that torch.save wrote. Raises WeightsError."""
    path = Path(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: not readable as a safetensors file ({error})") from error
    state = load_plain_data(path)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{path}: not a state dict; use a file of tensors by name, such as torchvision's")
    return state
