"""Temporary folders: none outlives its process for long, and what to say when the disk under them is full.

A folder is locked for as long as it is in use, and the kernel lets go of the lock when a process is killed: whoever
makes the next folder removes those that nobody holds.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.errors import StorageError

PREFIX = "lia-scratch-"


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A folder below TMPDIR for the length of a block. Raises StorageError when there is no room left in it."""
    remove_abandoned()
    with _locked_folder(purpose) as folder:
        try:
            yield folder
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not str(
                error.filename or folder
            ).startswith(str(folder)):
                raise
            raise StorageError(
                f"{folder.parent}: no space left for temporary files. Make room there, or let TMPDIR name a "
                "larger disk; the same command then goes on."
            ) from error


def remove_abandoned() -> None:
    """Remove this user's scratch folders below TMPDIR that no living process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # gone meanwhile, in use, another user's, or on a file system without locks
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == os.geteuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(handle)


@contextmanager
def _locked_folder(purpose: str) -> Iterator[Path]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-"))
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # taken for abandoned before it was locked
            continue
        with suppress(OSError):  # a file system without locks: there nothing is ever taken for abandoned
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink and folder.exists():
            break
        os.close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)
