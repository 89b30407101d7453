"""Where a published dataset's files are read from: a folder, or a server by way of this machine's cache."""

import hashlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.preparation.outcomes import FOLDER, MARK, REFUSED
from pipelines.preparation.plan import content_digest
from pipelines.storage.location import Location, RemoteFolder, parse_location
from pipelines.storage.shard_cache import ShardCache
from pipelines.storage.transfer import Origin, download, origin_at

RESUME = "Run `lia prepare` again with the same arguments; it resumes."
UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError)
"""What reading a Parquet file raises that is damaged, or has other columns or values than it should."""
MOST_DESCRIPTION_BYTES, MOST_TABLE_BYTES, MOST_REFUSAL_BYTES = 1 << 24, 1 << 32, 1000
# One process maps at most this part of the cache, so that a few of them leave room for what is fetched next.
MAPPED_PART = 8


class DatasetSource(Protocol):
    """The files of one dataset. It may be pickled and used on another machine."""

    @property
    def root(self) -> Location:
        """Where the dataset lies, for messages too."""
        ...

    @property
    def most_open(self) -> int | None:
        """How many shards one process should have open at once; None if it does not matter."""
        ...

    def description(self) -> bytes:
        """The content of dataset.json. Raises DatasetError if there is none."""
        ...

    def file(self, name: str) -> Path:
        """A table or index on this machine. Raises FileNotFoundError."""
        ...

    def shard_size(self, name: str) -> int:
        """Bytes of a shard. Raises DatasetError if there is no such shard."""
        ...

    def open_shard(self, name: str) -> BinaryIO:
        """A shard, open for reading. Raises DatasetError, or StorageError if it cannot be fetched."""
        ...


def open_source(root: str | Location | DatasetSource) -> DatasetSource:
    """The files of the dataset at a location. Raises DatasetError if a remote one is absent or unfinished."""
    if not isinstance(root, str | Path | RemoteFolder):
        return root
    root = parse_location(root)
    return LocalDataset(root) if isinstance(root, Path) else RemoteDataset.open(root)


@dataclass(frozen=True)
class LocalDataset:
    """A dataset in a folder on disk."""

    root: Path
    shards: Path | None = None
    """The folder of its shards, where that is another."""

    @property
    def most_open(self) -> None:
        return None

    def description(self) -> bytes:
        if not self.root.is_dir():
            raise DatasetError(
                f"{self.root}: no such folder. Make the dataset with `lia prepare --out {self.root}`."
            )
        path = self.root / "dataset.json"
        if not path.is_file():
            refused = self.root / REFUSED
            why = refused.read_bytes()[:MOST_REFUSAL_BYTES] if refused.is_file() else b""
            raise no_description(self.root, begun=(self.root / FOLDER).is_dir(), refused=why)
        return path.read_bytes()

    def file(self, name: str) -> Path:
        path = self.root / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing")
        return path

    def shard_size(self, name: str) -> int:
        path = (self.shards or self.root) / name
        if not path.is_file():
            raise missing_shard(path)
        return path.stat().st_size

    def open_shard(self, name: str) -> BinaryIO:
        return ((self.shards or self.root) / name).open("rb")


@dataclass(frozen=True)
class RemoteDataset:
    """A dataset on a server, of which this machine keeps what was used lately.

    dataset.json is read anew whenever the dataset is opened. All else is cached under that file's digest, which
    changes whenever a clip or a frame does, and is checked before it enters the cache.
    """

    root: RemoteFolder
    content: bytes
    """Of dataset.json."""
    shards: RemoteFolder | None = None
    """The folder of its shards, where that is another."""

    @classmethod
    def open(cls, root: RemoteFolder, shards: RemoteFolder | None = None) -> "RemoteDataset":
        """Ask the server. Raises DatasetError if there is no finished dataset, StorageError if it does not answer."""
        origin = origin_at(root)
        try:
            content = _read(origin, "dataset.json", MOST_DESCRIPTION_BYTES)
        except FileNotFoundError:
            refused = _look(origin, REFUSED)[:MOST_REFUSAL_BYTES]
            raise no_description(root, begun=bool(_look(origin, MARK)), refused=refused) from None
        return cls(root, content, shards)

    @property
    def most_open(self) -> int:
        limit = ShardCache.from_environment().limit
        return max(1, limit // (MAPPED_PART * max(self._sizes.values(), default=1)))

    def description(self) -> bytes:
        return self.content

    def file(self, name: str) -> Path:
        return ShardCache.from_environment().keep(f"{self._key}/{name}", partial(self._fetch_file, name))

    def shard_size(self, name: str) -> int:
        if name not in self._sizes:
            raise missing_shard(self.root / name)
        return self._sizes[name]

    def open_shard(self, name: str) -> BinaryIO:
        cache = ShardCache.from_environment()
        _note_a_small_cache(self.root, sum(self._sizes.values()), cache.limit)
        return cache.open(f"{self._key}/{name}", self.shard_size(name), partial(self._fetch_shard, name))

    @cached_property
    def _key(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:32]

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Bytes of each shard, by its name."""
        try:
            shards = json.loads(self.file("shardindex.json").read_bytes())["shardlist"]
            sizes = {str(shard["url"]): int(shard["filesize"]) for shard in shards}
        except FileNotFoundError:
            raise DatasetError(f"{self.root / 'shardindex.json'}: missing. {RESUME}") from None
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DatasetError(f"{self.root / 'shardindex.json'}: damaged ({error}). {RESUME}") from error
        return sizes

    def _fetch_file(self, name: str, file: BinaryIO) -> None:
        if download(origin_at(self.root), name, file, most=MOST_TABLE_BYTES) > MOST_TABLE_BYTES:
            raise DatasetError(f"{self.root / name}: is larger than {MOST_TABLE_BYTES >> 30} GB")
        if name == "manifest.parquet":
            self._check_manifest(Path(file.name))

    def _check_manifest(self, path: Path) -> None:
        """Refuse a manifest that dataset.json does not describe, as when the dataset is being replaced."""
        description = json.loads(self.content)
        try:
            with pq.ParquetFile(path) as file:
                found = content_digest(str(description.get("plan_digest")), _content(file))
        except UNREADABLE as error:
            raise DatasetError(f"{self.root / 'manifest.parquet'}: damaged ({error}). {RESUME}") from error
        if found != description.get("digest"):
            raise DatasetError(
                f"{self.root / 'manifest.parquet'}: is not the one that dataset.json describes. Is the dataset being "
                f"written? Wait until it is done; else: {RESUME}"
            )

    def _fetch_shard(self, name: str, file: BinaryIO) -> None:
        place = self.shards or self.root
        try:
            size = download(origin_at(place), name, file, most=self._sizes[name])
        except FileNotFoundError:
            raise missing_shard(place / name) from None
        if size != self._sizes[name]:
            raise DatasetError(
                f"{place / name}: {min(size, self._sizes[name] + 1)} bytes or more arrived, shardindex.json says "
                f"{self._sizes[name]}. The shard was cut or changed: delete it. {RESUME}"
            )
        self._check_shard(name, file)

    def _check_shard(self, name: str, file: BinaryIO) -> None:
        """Compare each clip with its sha256 in the manifest."""
        manifest = self.file("manifest.parquet")
        try:
            rows = rows_of_shard(manifest, name)
        except UNREADABLE as error:  # it was sound when it came
            raise StorageError(
                f"{manifest}: this machine's copy of {self.root / manifest.name} cannot be read ({error}). Delete it: "
                "it is fetched again."
            ) from error
        if not rows:
            raise DatasetError(f"{self.root / manifest.name}: knows no clip of shard {name}. {RESUME}")
        for row in rows:
            inside = 0 <= row["mp4_offset"] <= self._sizes[name] - row["mp4_size"]
            file.seek(row["mp4_offset"] if inside else 0)
            found = hashlib.sha256(file.read(row["mp4_size"] if inside else 0)).hexdigest()
            if found != row["sha256"]:
                raise DatasetError(
                    f"{self.root / name}: clip {row['clip_id']} arrived with other bytes than the manifest's sha256 "
                    f"says. Try again; if it stays so the shard is damaged: delete it. {RESUME}"
                )


_ROW = pa.schema(
    [
        pa.field("shard", pa.string()),
        pa.field("clip_id", pa.string()),
        pa.field("mp4_offset", pa.int64()),
        pa.field("mp4_size", pa.int64()),
        pa.field("sha256", pa.string()),
    ]
)
"""What is compared of a clip when its shard arrives."""
_CONTENT = pa.schema([(name, pa.string()) for name in ("shard", "clip_id", "sha256")])
"""What a manifest's digest is over, and where it lies."""


def rows_of_shard(manifest: Path, name: str) -> list[dict[str, Any]]:
    """Where the clips of a shard lie and what their sha256 is; of the manifest only the row groups that have them.

    Trusts the file's statistics, which are compared with what it holds before a manifest enters the cache. A
    damaged file raises one of UNREADABLE.
    """
    rows: list[dict[str, Any]] = []
    with pq.ParquetFile(manifest) as file:
        for number in range(file.num_row_groups):
            if _may_hold(file.metadata.row_group(number), name):
                table = file.read_row_group(number, columns=_ROW.names).select(_ROW.names).cast(_ROW)
                rows += table.filter(pc.equal(table["shard"], name)).to_pylist()
    return rows


def _content(manifest: pq.ParquetFile) -> Iterator[tuple[str, str]]:
    """(clip_id, sha256) of each clip.

    Raises ValueError for empty cells, and where a row group's statistics deny a shard that it holds: it would never be
    compared with them.
    """
    for number in range(manifest.num_row_groups):
        stated = manifest.metadata.row_group(number)
        for batch in manifest.iter_batches(row_groups=[number], columns=_CONTENT.names):
            table = pa.Table.from_batches([batch]).select(_CONTENT.names).cast(_CONTENT)
            for name in _CONTENT.names:
                if table[name].null_count:
                    raise ValueError(f"empty cells in column {name}")
            for shard in pc.min_max(table["shard"]).as_py().values():
                if not _may_hold(stated, shard):
                    raise ValueError(f"the statistics of row group {number} leave out {shard}")
            yield from zip(table["clip_id"].to_pylist(), table["sha256"].to_pylist(), strict=True)


def _may_hold(group: pq.RowGroupMetaData, shard: str) -> bool:
    """Whether a row group's statistics allow for clips of a shard."""
    columns = (group.column(number) for number in range(group.num_columns))
    stated = next((column.statistics for column in columns if column.path_in_schema == "shard"), None)
    if stated is None or not stated.has_min_max or not isinstance(stated.min, str):
        return True
    return bool(stated.min <= shard <= stated.max)


def no_description(root: Location, *, begun: bool, refused: bytes) -> DatasetError:
    """The error for a place without dataset.json; `refused` is why it was left unfinished, if that was on purpose."""
    if refused:
        why = refused.decode(errors="replace").splitlines()[0]
        return DatasetError(f"{root}: refused by the last `lia prepare`: {why}")
    if begun:
        return DatasetError(f"{root}: its preparation is unfinished (there is no dataset.json). {RESUME}")
    return DatasetError(
        f"{root}: is no dataset (there is no dataset.json). Give the folder that `lia prepare --out` wrote."
    )


def missing_shard(path: Location) -> DatasetError:
    """The error for a shard that ought to be there."""
    return DatasetError(f"{path}: missing, though the manifest names it. {RESUME}")


def _look(origin: Origin, name: str) -> bytes:
    """A small file that may be absent; empty if it is or cannot be had."""
    try:
        return _read(origin, name, MOST_DESCRIPTION_BYTES)
    except (FileNotFoundError, StorageError):
        return b""


def _read(origin: Origin, name: str, most: int) -> bytes:
    file = io.BytesIO()
    download(origin, name, file, most=most)
    return file.getvalue()


@lru_cache
def _note_a_small_cache(root: RemoteFolder, needed: int, limit: int) -> None:
    if needed > limit:
        logging.getLogger(__name__).warning(
            "%s: has %.1f GB of shards, the cache keeps %.1f GB: they will be fetched again and again. "
            "Set LIA_CACHE_GB higher if the disk has room.",
            root, needed / 1e9, limit / 1e9,
        )  # fmt: skip
