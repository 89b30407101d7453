"""Files of remote datasets on this machine's disk, up to a limit, shared by all processes of the machine.

Shards are opened, and the tables that describe them kept: both count, and those of a dataset long unused make room.

Three locks keep processes apart, and the kernel lets go of them when a process dies:

- a file beside each cached one: who holds it fetches, the others wait and find the file there;
- `.lock` of the whole cache, held while room is made: what is being fetched counts with its full size;
- the cached file itself, locked (shared) for as long as it is open or mapped. Files that are in use are never removed,
  so the cache may outgrow its limit by what running processes have mapped.

Removing means unlinking: even where file locks do nothing, as on some network disks, a map of a removed file stays
valid on Linux, and only its disk space is not yet free.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from pipelines.errors import InputError, StorageError
from pipelines.storage.atomic import atomic_path
from pipelines.storage.cache_folder import cache_folder

DEFAULT_GB = 50.0
KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class ShardCache:
    """A folder of cached files, the least recently used of which make room for new ones."""

    folder: Path
    limit: int
    """Bytes."""

    @classmethod
    def from_environment(cls) -> "ShardCache":
        """`shards` in LIA_CACHE (default ~/.cache/lia), of LIA_CACHE_GB gigabytes (default 50)."""
        text = os.environ.get("LIA_CACHE_GB") or str(DEFAULT_GB)
        try:
            gigabytes = float(text)
        except ValueError:
            gigabytes = -1.0
        if not 0 < gigabytes < 1e9:
            raise InputError(f"LIA_CACHE_GB={text}: give the size of the cache in gigabytes, such as 50")
        return cls(cache_folder() / "shards", int(gigabytes * 1e9))

    def open(self, name: str, size: int, fetch: Callable[[BinaryIO], None]) -> BinaryIO:
        """The file `name` of `size` bytes, safe from removal while it, or a map made of it, is open.

        `fetch` writes it to an empty file if it is not there. Raises what `fetch` raises, and StorageError if the
        cache's folder cannot be written to.
        """
        path = self.folder / name
        while (file := _open_shared(path, size)) is None:
            with self._locked(path):
                if not path.exists():
                    self._fetch(path, size, fetch)
        return file

    def keep(self, name: str, fetch: Callable[[BinaryIO], None]) -> Path:
        """A table, which stays for a day after this was last asked for; `fetch` writes it if it is not there.

        Raises as `open` does.
        """
        path = self.folder / name
        while not _mark_used(path):
            with self._locked(path):
                if not path.exists():
                    for orphan in path.parent.glob(f".{path.name}.*.partial"):
                        orphan.unlink(missing_ok=True)
                    with _writing(path.parent), atomic_path(path) as partial, partial.open("wb") as file:
                        fetch(file)
        return path

    def _fetch(self, path: Path, size: int, fetch: Callable[[BinaryIO], None]) -> None:
        partial = path.with_name(f".{path.name}.partial")
        with _writing(path.parent), self._reserved(partial, size) as file:
            try:
                fetch(file)
                os.fsync(file.fileno())
                os.replace(partial, path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    @contextmanager
    def _reserved(self, partial: Path, size: int) -> Iterator[BinaryIO]:
        """A file that counts `size` bytes from the start, and that nobody removes while it is written."""
        with self._locked(self.folder / "all"):
            partial.unlink(missing_ok=True)
            self._make_room(size)
            file = partial.open("w+b")
            fcntl.flock(file, fcntl.LOCK_EX)
            os.truncate(partial, size)
        with file:
            yield file

    def _make_room(self, size: int) -> None:
        """Remove what was used least recently and is not in use until `size` more bytes fit, or nothing is left."""
        found = []
        for path in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):
                if path.suffix != ".lock":
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
        excess = sum(bytes_ for _, bytes_, _ in found) + size - self.limit
        for used, bytes_, path in sorted(found):
            if excess <= 0:
                return
            if (_is_shard(path) or used < time.time() - KEPT_SECONDS) and _remove_unused(path):
                excess -= bytes_

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Hold the lock that belongs to a file of the cache."""
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        with _writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say of a bare error of the disk where it was, and what to do."""
    try:
        yield
    except (StorageError, FileNotFoundError):
        raise  # what a fetch says
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written: {error.strerror or error}. Make room there, set LIA_CACHE_GB lower, or let "
            "LIA_CACHE name another folder."
        ) from error


def _is_shard(path: Path) -> bool:
    """Whether it is a shard or on the way to be one; else it is a table, which has no lock while it is in use."""
    return path.name.removesuffix(".partial").endswith(".tar")


def _mark_used(path: Path) -> bool:
    """Whether a file is there; if so it counts as used now."""
    try:
        os.utime(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:  # a cache that other users share
        return True
    return True


def _open_shared(path: Path, size: int) -> BinaryIO | None:
    """The file, locked against removal, and marked as used; None if it is not there, or not whole."""
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    status = os.fstat(file.fileno())
    if status.st_nlink and status.st_size == size:
        with suppress(PermissionError):  # a cache that other users share
            os.utime(file.fileno())
        return file
    file.close()
    if status.st_nlink:
        path.unlink(missing_ok=True)
    return None


def _remove_unused(path: Path) -> bool:
    """Remove a file unless a process has it open; whether it was removed."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink(missing_ok=True)
    return True
