"""Folders that are to be made later: whether they can be is known before hours of work."""

import os
import tempfile
from pathlib import Path

from pipelines.errors import InputError


def require_makeable(folder: Path) -> None:
    """Raise InputError where a folder cannot be made, or is there and takes no files. Leaves nothing behind."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".lia-probe-"):
            pass
    except NotADirectoryError:
        raise InputError(f"{nearest}: is not a folder; name another place by --out") from None
    except OSError as error:
        raise InputError(
            f"{nearest}: cannot be written to ({error.strerror}); name another place by --out"
        ) from None
