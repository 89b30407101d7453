"""WebDataset shards: tars whose bytes depend on nothing but their members, with every member's position known.

Written here rather than by webdataset.TarWriter, which wants each member whole in memory and tells no offsets.
"""

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """Where one member's data lies in its tar."""

    offset: int
    """First byte of the data, counted from the start of the tar."""
    size: int
    sha256: str


class ShardWriter:
    """Appends members to an open tar file, streaming; headers carry no time, owner or machine.

    Names over 100 bytes get GNU long-name headers, which tarfile, GNU tar, bsdtar and webdataset read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add_file(self, name: str, path: Path) -> Member:
        """Append a file's content under `name`."""
        size = path.stat().st_size
        offset = self._begin(name, size)
        digest = hashlib.sha256()
        with path.open("rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                self._file.write(chunk)
        return self._end(Member(offset, size, digest.hexdigest()))

    def add_bytes(self, name: str, data: bytes) -> Member:
        """Append `data` under `name`."""
        offset = self._begin(name, len(data))
        self._file.write(data)
        return self._end(Member(offset, len(data), hashlib.sha256(data).hexdigest()))

    def finish(self) -> int:
        """Write the end of the archive; returns the tar's size."""
        self._file.write(b"\0" * (2 * tarfile.BLOCKSIZE))
        self._pad(tarfile.RECORDSIZE)
        return self._file.tell()

    def _begin(self, name: str, size: int) -> int:
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o444
        self._file.write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict"))
        return self._file.tell()

    def _end(self, member: Member) -> Member:
        self._pad(tarfile.BLOCKSIZE)
        return member

    def _pad(self, block: int) -> None:
        self._file.write(b"\0" * (-self._file.tell() % block))
