"""Files from object storage and web servers, with patience: failing requests are made again, cut ones go on.

Object storage is asked once: its clients are patient themselves.
"""

import random
import time
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from pipelines.errors import StorageError, TransientError
from pipelines.storage.http_folder import HttpFolder
from pipelines.storage.location import WEB, RemoteFolder

# Seconds before each further attempt, of which a random half is waited at least: many readers must not ask at once.
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)


class Origin(Protocol):
    """Where files are read from."""

    def chunks(self, name: str, start: int = 0) -> Iterator[bytes]:
        """A file's content from byte `start` on.

        Raises FileNotFoundError if there is no such file, TransientError if trying again may help, StorageError if
        it will not.
        """
        ...


def origin_at(root: RemoteFolder) -> Origin:
    """What answers at a URI."""
    if root.scheme in WEB:
        return HttpFolder(root)
    from pipelines.storage.object_store import ObjectStore

    return ObjectStore(root)


def download(origin: Origin, name: str, file: BinaryIO, *, most: int) -> int:
    """Append a file's content to `file`, at most `most` bytes and one chunk of it; returns how many there were.

    Raises FileNotFoundError, or StorageError when several attempts after each other brought nothing.
    """
    position, waits = 0, iter(WAITS_S)
    while True:
        start = position
        try:
            for chunk in origin.chunks(name, start):
                _write(file, chunk)
                position += len(chunk)
                if position > most:
                    break
            return position
        except TransientError as error:
            if position > start:
                waits = iter(WAITS_S)
            wait = next(waits, None)
            if wait is None:
                raise StorageError(
                    f"{error} Given up after {len(WAITS_S) + 1} attempts without progress."
                ) from error
            time.sleep(wait * random.uniform(0.5, 1.0))


def _write(file: BinaryIO, chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        raise StorageError(
            f"{file.name}: cannot be written: {error.strerror}. Make room there, set LIA_CACHE_GB lower, or let "
            "LIA_CACHE name a folder on a larger disk."
        ) from error
