"""The files of a dataset that is being written, on a local disk or on object storage."""

import errno
import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.storage.atomic import atomic_path
from pipelines.storage.location import WEB, Location
from pipelines.storage.scratch import scratch_folder

GOES_ON = "What was published stays valid; the same command goes on from there."


class Store(Protocol):
    """Files by name, folders in it set off by `/`. All methods raise StorageError when the storage fails."""

    def read(self, name: str) -> bytes:
        """A small file's content. Raises FileNotFoundError."""
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to read and seek in. Raises FileNotFoundError."""
        ...

    def size(self, name: str) -> int | None:
        """A file's bytes; None if there is none."""
        ...

    def names(self) -> list[str]:
        """Names of the files and folders at the top; empty if there is no such place."""
        ...

    def create(self, folder: str) -> None:
        """Make sure that files can be published in a folder."""
        ...

    def publish(self, name: str, *, keep_equal: bool = False) -> AbstractContextManager[Path]:
        """A local path to write to; when the block ends well, the file appears under `name`, whole.

        When the block fails whatever stood there stays as it was; when the publishing fails, it may be gone, but never
        half there. With `keep_equal` it stays as well, untouched, when what was written has the same bytes, also
        where nothing can be written.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        ...

    def remove_leftovers(self, folder: str = "") -> None:
        """Remove what killed processes left half-written in a folder."""
        ...


def store_at(location: Location) -> Store:
    """The files at a location. Raises InputError for one that cannot be written to."""
    if isinstance(location, Path):
        return LocalStore(location)
    if location.scheme in WEB:
        raise InputError(
            f"{location}: a web server can be read from, not written to. Name a folder or s3://."
        )
    from pipelines.storage.object_store import ObjectStore

    return ObjectStore(location)


@dataclass(frozen=True)
class LocalStore:
    """A folder on a disk, or on storage that is mounted."""

    root: Path

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        return (self.root / name).open("rb")

    def size(self, name: str) -> int | None:
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def names(self) -> list[str]:
        if self.root.exists() and not self.root.is_dir():
            raise DatasetError(f"{self.root}: is a file. Name a folder to write the dataset to.")
        return [entry.name for entry in self.root.iterdir()] if self.root.is_dir() else []

    def create(self, folder: str) -> None:
        with writing(self.root / folder):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def publish(self, name: str, *, keep_equal: bool = False) -> Iterator[Path]:
        path = self.root / name
        if keep_equal and path.is_file() and not os.access(path.parent, os.W_OK):
            with _written_elsewhere(path) as partial:
                yield partial
            return
        with writing(path), atomic_path(path, keep_equal=keep_equal) as partial:
            yield partial

    def remove(self, name: str) -> None:
        with writing(self.root / name):
            (self.root / name).unlink(missing_ok=True)

    def remove_leftovers(self, folder: str = "") -> None:
        for leftover in (self.root / folder).glob(".*.partial"):
            with writing(leftover):
                leftover.unlink(missing_ok=True)


@contextmanager
def _written_elsewhere(path: Path) -> Iterator[Path]:
    """A path in TMPDIR for what should equal `path`, in whose folder nothing can be written; an error if it differs."""
    with scratch_folder("compare") as scratch:
        written = scratch / path.name
        yield written
        if not filecmp.cmp(written, path, shallow=False):
            with writing(path), atomic_path(path) as partial:  # which says what hinders it
                shutil.copyfile(written, partial)


@contextmanager
def writing(path: Path, *, place: str = "folder", goes_on: str = GOES_ON) -> Iterator[None]:
    """Say which file could not be written, and what to do, in place of a bare error number.

    `place` is what may be named instead; `goes_on` what is said of work that was done before.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError) or not _concerns(Path(error.filename or path), path):
            raise  # of another file that was read or written meanwhile
        remedy = {
            errno.ENOSPC: f"Make room there, or name another {place}.",
            errno.EDQUOT: f"Make room there, or name another {place}.",
            errno.EROFS: f"Name a {place} that can be written to.",
            errno.EACCES: f"Change its permissions, or name another {place}.",
            errno.EPERM: f"Change its permissions, or name another {place}.",
        }.get(error.errno or 0, "Check the disk.")
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error}. {remedy} {goes_on}".rstrip()
        ) from error


def _concerns(about: Path, path: Path) -> bool:
    """Whether an error about one file is an error about writing `path`: its folders, what lies beside or half in it."""
    beside = about.parent == path.parent or about in path.parents
    return beside or (about.parent.parent == path.parent and about.parent.name.startswith(f".{path.name}."))
