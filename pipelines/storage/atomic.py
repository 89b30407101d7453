"""Files and folders appear under their name whole or not at all."""

import filecmp
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import InputError


@contextmanager
def atomic_path(path: Path, *, keep_equal: bool = False) -> Iterator[Path]:
    """A name beside `path` to write to; when the block ends well, the file is flushed and renamed to `path`.

    When the block fails the file is removed and whatever stood under `path` stays as it was. With `keep_equal` it
    stays as well, untouched, when what was written has the same bytes.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder to write {path.name} to. Create it first.")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file to write to.")
    # Not tempfile: its files are private to the user, and a result should get the ordinary permissions.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        if keep_equal and path.is_file() and filecmp.cmp(partial, path, shallow=False):
            return
        move_into_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def move_into_place(finished: Path, path: Path) -> None:
    """Rename a finished file of the same file system to `path`, once its bytes are on disk."""
    _flush(finished)
    os.replace(finished, path)
    _flush(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` to fill with files; when the block ends well, it is flushed and renamed to `path`.

    When the block fails it is removed. `path` must not be there yet (or be an empty folder).
    """
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder to write {path.name} to. Create it first.")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        yield partial
        for file in partial.iterdir():
            _flush(file)
        _flush(partial)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Wait until the file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
