"""Files on object storage: Amazon S3 and its like, Google Cloud Storage, Azure, HDFS, by pyarrow's file systems.

Credentials come from the environment (AWS_ACCESS_KEY_ID, ...) or the usual files and roles of each machine, and
AWS_ENDPOINT_URL names another server than Amazon's. They are never part of a URI, and so of no record or message.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from pipelines.errors import InputError, StorageError
from pipelines.storage.location import RemoteFolder
from pipelines.storage.scratch import scratch_folder
from pipelines.storage.store import GOES_ON

CHUNK = 1 << 23
CONNECT_SECONDS, SILENCE_SECONDS = 10, 60
# Waits of up to 1, 2, 4, 8 and 16 s lie between six attempts; AWS_MAX_ATTEMPTS changes their number.
ATTEMPTS = 6
_REFUSED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "NO_SUCH_BUCKET")


@dataclass(frozen=True)
class ObjectStore:
    """A `Store` and `Origin` on object storage. Uploads appear when they are complete and not before.

    One thing differs from a disk: when this machine fails in the middle of an upload (its disk, an interrupt), the
    object that stood under that name is gone, too, as pyarrow ends an upload only by publishing it.
    """

    root: RemoteFolder

    def read(self, name: str) -> bytes:
        with self._asking("read", name) as (files, path), files.open_input_stream(path) as stream:
            return bytes(stream.read())

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        with self._asking("read", name) as (files, path), files.open_input_file(path) as file:
            yield file

    def chunks(self, name: str, start: int = 0) -> Iterator[bytes]:
        """The content of a file from byte `start` on; FileNotFoundError if there is none."""
        with self._asking("read", name) as (files, path), files.open_input_file(path) as file:
            file.seek(start)
            while chunk := file.read(CHUNK):
                yield chunk

    def size(self, name: str) -> int | None:
        with self._asking("read", name) as (files, path):
            info = files.get_file_info(path)
            return int(info.size) if info.type == fs.FileType.File else None

    def names(self) -> list[str]:
        with self._asking("read", "") as (files, path):
            return [
                entry.base_name for entry in files.get_file_info(fs.FileSelector(path, allow_not_found=True))
            ]

    def create(self, folder: str) -> None:
        """Nothing: folders on object storage come with the files in them."""

    @contextmanager
    def publish(self, name: str, *, keep_equal: bool = False) -> Iterator[Path]:
        with scratch_folder("upload") as scratch:
            written = scratch / PurePosixPath(name).name
            yield written
            if not (keep_equal and self._holds(name, written)):
                self._upload(written, name)

    def remove(self, name: str) -> None:
        with self._asking("written", name) as (files, path), suppress(FileNotFoundError):
            files.delete_file(path)

    def remove_leftovers(self, folder: str = "") -> None:
        """Nothing: what was not uploaded whole is not there (its parts expire by the bucket's rule, if it has one)."""

    def _holds(self, name: str, written: Path) -> bool:
        return self.size(name) == written.stat().st_size and self.read(name) == written.read_bytes()

    def _upload(self, written: Path, name: str) -> None:
        with self._asking("written", name) as (files, path), written.open("rb") as file:
            # Not fs.copy_files: it says nothing when S3 refuses the last part.
            stream = files.open_output_stream(path)
            try:
                shutil.copyfileobj(file, stream, CHUNK)
            except BaseException:
                # Closing, as forgetting the stream does too, publishes what there is, unless the server failed: then
                # it raises, and what stood there stays.
                with suppress(OSError):
                    stream.close()
                    files.delete_file(path)
                raise
            stream.close()
            if (there := files.get_file_info(path).size) != file.tell():
                raise StorageError(
                    f"{self.root / name}: {there} bytes arrived of {file.tell()}. Run the same command again."
                )

    @contextmanager
    def _asking(self, what: str, name: str) -> Iterator[tuple[Any, str]]:
        """The file system and the path of a file in it; says what failed in one line where pyarrow takes many."""
        shown = self.root / name if name else self.root
        try:
            # By process: connections must not be shared with a forked one.
            files, folder = _connect(self.root.uri, os.getpid())
            yield files, f"{folder}/{name}" if name else folder
        except (FileNotFoundError, InputError, StorageError):
            raise
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).splitlines()[0].split())
            refused = any(word in reason for word in _REFUSED)
            remedy = (
                "Check the bucket's name, your credentials and rights."
                if refused
                else "Check the network and the server."
            )
            end = f" {GOES_ON}" if what == "written" else ""
            raise StorageError(f"{shown}: cannot be {what} ({reason}). {remedy}{end}") from error


@lru_cache(maxsize=8)
def _connect(uri: str, process: int) -> tuple[Any, str]:
    """The file system of a URI and the path in it."""
    if urlsplit(uri).scheme == "s3":
        return _connect_s3(uri)
    try:
        files, path = fs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{uri}: {str(error).splitlines()[0]}. Name a folder, s3://, gs://, abfs:// or hdfs://."
        ) from error
    return files, path


def _connect_s3(uri: str) -> tuple[Any, str]:
    """As pyarrow reads s3:// URIs, but with more patience than it has, and with AWS_ENDPOINT_URL."""
    parts = urlsplit(uri)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    endpoint = (
        query.get("endpoint_override")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )
    region = query.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    files = fs.S3FileSystem(
        region=region or (None if endpoint else fs.resolve_s3_region(parts.netloc)),
        endpoint_override=endpoint,
        scheme=query.get("scheme"),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENCE_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_attempts()),
    )
    return files, parts.netloc + unquote(parts.path)


def _attempts() -> int:
    text = os.environ.get("AWS_MAX_ATTEMPTS") or str(ATTEMPTS)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise InputError(f"AWS_MAX_ATTEMPTS={text}: give a number of 1 or more")
    return int(text)
