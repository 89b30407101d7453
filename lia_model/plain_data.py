"""Reads torch's pickle-based files without running pickled code: tensors and plain values or nothing."""

import pickle
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lia_model.weights import WeightsError

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
    try:
        with torch.serialization.safe_globals(list(harmless)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: refused: {_reason(error)}; use a file of tensors alone") from error
    except _UNREADABLE as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path}: not readable as a torch file ({first_line})") from error


def _reason(error: pickle.UnpicklingError) -> str:
    """torch's explanation is a page with advice to turn the protection off; only the cause is wanted."""
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    return f"its pickle wants {wanted[1]}, which is not plain data" if wanted else "it is not plain data"
