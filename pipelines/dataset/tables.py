"""A published dataset's manifest and failures as whole tables, checked before anything is computed from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.clip_table import MAX_FPS, MAX_NUMBER, MIN_FPS, PARTITIONS
from pipelines.dataset.clip_index import read_description
from pipelines.dataset.source import RESUME, UNREADABLE, DatasetSource, open_source
from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.preparation.outcomes import FAILURES_SCHEMA, MANIFEST_SCHEMA
from pipelines.storage.location import Location


@dataclass(frozen=True)
class DatasetTables:
    """What a dataset's files say of its clips: one row a clip, columns as in `outcomes`."""

    source: DatasetSource
    """Where the dataset's files are read from."""
    description: Mapping[str, Any]
    """dataset.json."""
    written: Any
    """manifest.parquet (pyarrow table)."""
    failed: Any
    """failures.parquet (pyarrow table)."""


def read_tables(root: str | Location) -> DatasetTables:
    """Read what describes the dataset at `root`; no shard is opened.

    Raises DatasetError if the dataset is absent, unfinished or damaged.
    """
    source = open_source(root)
    description = read_description(source)
    written = _read(source, "manifest.parquet", MANIFEST_SCHEMA)
    failed = _read(source, "failures.parquet", FAILURES_SCHEMA)
    counts = description["counts"]
    for name, table in (("written", written), ("failed", failed)):
        if table.num_rows != counts.get(name):
            raise DatasetError(
                f"{source.root}: its tables hold {table.num_rows} clips {name}, dataset.json counts "
                f"{counts.get(name)!r}. {RESUME}"
            )
    return DatasetTables(source, description, written, failed)


def in_partition(table: Any, partition: str) -> Any:
    """The rows of one partition, in the table's order."""
    return table.filter(pc.equal(table["partition"], partition))


def _read(source: DatasetSource, name: str, schema: Any) -> Any:
    path = source.root / name
    try:
        table = pq.read_table(source.file(name), columns=schema.names).select(schema.names)
        table.validate(full=True)  # of text, that it is some
        table = table.cast(pa.schema([field.with_nullable(True) for field in schema]))
    except FileNotFoundError:
        raise DatasetError(f"{path}: missing. {RESUME}") from None
    except (InputError, StorageError):  # the cache's settings, a server: nothing is wrong with the file
        raise
    except UNREADABLE as error:
        raise DatasetError(f"{path}: damaged ({error}). {RESUME}") from error
    for name in schema.names:
        if table[name].null_count:
            raise DatasetError(f"{path}: empty cells in column {name}. {RESUME}")
    _check_values(path, table)
    return table


def _check_values(path: Location, table: Any) -> None:
    """Refuse what no clip table may hold and what arithmetic would stumble over."""
    known = pc.is_in(table["partition"], pa.array(PARTITIONS))
    rate = pc.and_(pc.greater_equal(table["fps"], MIN_FPS), pc.less_equal(table["fps"], MAX_FPS))
    length = pc.and_(pc.greater_equal(table["start"], 0), pc.less_equal(table["end"], MAX_NUMBER))
    length = pc.and_(length, pc.less(table["start"], table["end"]))
    checks = {"partition": known, "fps": rate, "start and end": length}
    if "n_frames" in table.column_names:
        frames = table["n_frames"]
        checks["n_frames"] = pc.and_(pc.greater(frames, 0), pc.less_equal(frames, MAX_NUMBER))
    for column, sound in checks.items():
        if not pc.all(sound, min_count=0).as_py():
            row = pc.index(sound, False).as_py()
            clip_id = table["clip_id"][row].as_py()
            raise DatasetError(f"{path}: clip {clip_id!r}: {column} cannot be right. {RESUME}")
