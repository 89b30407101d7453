"""Many clips at once, column by column: what a list of a million `Clip`s would need gigabytes for.

Behaves as an immutable sequence of `Clip`; a row becomes an object when it is asked for.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.corpus.clip_table import BATCH_ROWS, COLUMNS, NUMBERS, Clip, Partition, clip_schema

# In memory, ids and paths that many rows share are kept once, and numbers (at most 10^9) in four bytes.
_REPEATED = ("dataset", "partition", "video_path", "video_id", "subject_id")


class ClipColumns(Sequence[Clip]):
    """Clips in the rows `rows` of an Arrow table (all rows if None) that holds the clip table's columns."""

    def __init__(self, table: pa.Table, rows: NDArray[np.int64] | None = None) -> None:
        self._table = table
        self._rows = rows

    @classmethod
    def of(cls, clips: Iterable[Clip]) -> "ClipColumns":
        """The same clips in columns."""
        if isinstance(clips, ClipColumns):
            return clips
        rest = iter(clips)
        batches = []
        while some := list(islice(rest, BATCH_ROWS)):
            batches.append(pa.RecordBatch.from_pylist([vars(clip) for clip in some], _in_memory_schema()))
        table = pa.Table.from_batches(batches, _in_memory_schema()).unify_dictionaries()
        return cls(table.combine_chunks())

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the clips in the order of their ids, their videos' paths left out; seconds for a million."""
        digest = hashlib.sha256()
        order = pc.sort_indices(self.column("clip_id")).to_numpy().astype(np.int64)
        for row in self.select(order).rows([name for name in COLUMNS if name != "video_path"]):
            digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    def __len__(self) -> int:
        return self._table.num_rows if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> "ClipColumns": ...
    def __getitem__(self, index: int | slice) -> "Clip | ClipColumns":
        if isinstance(index, slice):
            # Not np.arange(len(self))[index]: that counts all clips for each of a plan's slices.
            return self.select(np.arange(*index.indices(len(self))))
        number = range(len(self))[index]
        row = number if self._rows is None else int(self._rows[number])
        return Clip(**self._table.slice(row, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Clip]:
        return (Clip(**row) for row in self.rows(COLUMNS))

    def rows(self, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Some columns of each clip."""
        wanted = list(columns)
        for first in range(0, len(self), BATCH_ROWS):
            yield from self._part(first, first + BATCH_ROWS, wanted).to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClipColumns) and self.table().equals(other.table())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        # Only the rows meant, in the plain schema: a few clips of a large table travel as a few clips.
        return _restored, (self.table(),)

    def select(self, numbers: NDArray[np.int64]) -> "ClipColumns":
        """The clips with these numbers, in this order; shares the columns."""
        return ClipColumns(self._table, numbers if self._rows is None else self._rows[numbers])

    def column(self, name: str) -> pa.ChunkedArray:
        """One column, in the plain type of `clip_schema`."""
        column = self._table[name]
        if self._rows is not None:
            column = column.take(pa.array(self._rows))
        return column.cast(clip_schema().field(name).type)

    def distinct(self, name: str) -> list[str]:
        """The values that a column has, sorted."""
        values = self._table[name] if self._rows is None else self._table[name].take(pa.array(self._rows))
        return sorted(pc.unique(values.cast(pa.string())).to_pylist())

    def with_partition(self, partition: Partition, numbers: NDArray[np.int64]) -> "ClipColumns":
        """The same clips, but those with these numbers in `partition`."""
        values = self.column("partition").to_numpy(zero_copy_only=False).copy()
        values[numbers] = partition
        place = COLUMNS.index("partition")
        field = self._table.schema.field(place)
        table = self._table if self._rows is None else self._table.take(pa.array(self._rows))
        return ClipColumns(table.set_column(place, field, pa.array(values).cast(field.type)))

    def table(self) -> pa.Table:
        """All of it as an Arrow table with the schema `clip_schema`."""
        return self._part(0, len(self))

    def _part(self, first: int, last: int, columns: Sequence[str] = COLUMNS) -> pa.Table:
        part = self._table.select(columns)
        rows = self._rows
        part = part.slice(first, last - first) if rows is None else part.take(pa.array(rows[first:last]))
        return part.cast(pa.schema([clip_schema().field(name) for name in columns]))


def _restored(table: pa.Table) -> ClipColumns:
    return ClipColumns(table.cast(_in_memory_schema()))


def _in_memory_schema() -> Any:
    types = {field.name: field.type for field in clip_schema()}
    types |= dict.fromkeys(_REPEATED, pa.dictionary(pa.int32(), pa.string()))
    types |= dict.fromkeys(NUMBERS, pa.int32())
    return pa.schema([pa.field(name, types[name], nullable=False) for name in COLUMNS])
