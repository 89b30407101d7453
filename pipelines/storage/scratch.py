"""Temporary folders, and what to say when the disk under them is full."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import StorageError


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder below TMPDIR for the length of a block. Raises StorageError when there is no room left in it."""
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not str(
                error.filename or folder
            ).startswith(folder):
                raise
            raise StorageError(
                f"{Path(folder).parent}: no space left for temporary files. Make room there, or let TMPDIR name a "
                "larger disk; the same command then goes on."
            ) from error
