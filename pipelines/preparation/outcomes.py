"""What became of each clip of a shard, and the sidecar files that record it beside the published shards.

A shard is done when its sidecar is there: it is written after the tar, and both appear whole or not at all.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.clip_table import Clip, clip_schema
from pipelines.corpus.failures import Rejected
from pipelines.preparation.plan import ShardPlan
from pipelines.storage.location import Location
from pipelines.storage.store import store_at

FOLDER = ".outcomes"
MARK = f"{FOLDER}/plan.json"
"""Says which clips and settings the folder is for."""
PLANNED = f"{FOLDER}/planned.json"
"""Says how many clips each shard is to hold, for whoever watches."""
# In that folder: why the dataset was left unfinished on purpose.
REFUSED = f"{FOLDER}/refused.txt"
ROWS_A_GROUP = 1 << 14
"""Of the tables' row groups: whoever looks up one shard reads the group or two that its rows are in."""

_WRITTEN = [
    pa.field("shard", pa.string(), False),
    pa.field("index_in_shard", pa.int64(), False),
    pa.field("mp4_offset", pa.int64(), False),
    pa.field("mp4_size", pa.int64(), False),
    pa.field("json_offset", pa.int64(), False),
    pa.field("json_size", pa.int64(), False),
    pa.field("n_frames", pa.int64(), False),
    pa.field("sha256", pa.string(), False),
]
_FAILED = [
    pa.field("stage", pa.string(), False),
    pa.field("reason", pa.string(), False),
    pa.field("message", pa.string(), False),
]
MANIFEST_SCHEMA = pa.schema([*clip_schema(), *_WRITTEN])
FAILURES_SCHEMA = pa.schema([*clip_schema(), *_FAILED])
_SIDECAR_SCHEMA = pa.schema([field.with_nullable(True) for field in (*clip_schema(), *_WRITTEN, *_FAILED)])


@dataclass(frozen=True, kw_only=True)
class Written:
    """Where a clip that was written lies."""

    shard: str
    index_in_shard: int
    mp4_offset: int
    mp4_size: int
    json_offset: int
    json_size: int
    n_frames: int
    sha256: str


@dataclass(frozen=True)
class ClipOutcome:
    """One clip and what became of it."""

    clip: Clip
    result: Written | Rejected

    def row(self) -> dict[str, Any]:
        """The columns of manifest.parquet or failures.parquet."""
        if isinstance(self.result, Written):
            return {**asdict(self.clip), **asdict(self.result)}
        failed = {"stage": self.result.stage, "reason": self.result.reason, "message": self.result.message}
        return {**asdict(self.clip), **failed}


@dataclass(frozen=True)
class ShardOutcome:
    """A published shard: its clips' rows, and the size of its tar (0 if every clip failed: then there is none).

    The rows stay in Arrow's tables: a dataset of a million clips is described from thousands of these at once.
    """

    name: str
    plan_digest: str
    tar_bytes: int
    written: Any
    """Rows of manifest.parquet (pyarrow table)."""
    failed: Any
    """Rows of failures.parquet (pyarrow table)."""

    def reasons(self) -> Counter[str]:
        """Clips by reason of failure; those written under the empty reason."""
        return Counter({"": self.written.num_rows, **Counter(self.failed["reason"].to_pylist())})


def write_outcome(
    out: Location, shard: str, plan_digest: str, tar_bytes: int, clips: Sequence[ClipOutcome]
) -> None:
    """Record a shard as done."""
    note = {"plan_digest": plan_digest, "tar_bytes": tar_bytes}
    schema = _SIDECAR_SCHEMA.with_metadata({"lia": json.dumps(note)})
    table = pa.Table.from_pylist([outcome.row() for outcome in clips], schema)
    with store_at(out).publish(_sidecar(shard)) as partial:
        pq.write_table(table, partial)


def read_outcome(out: Location, plan: ShardPlan, plan_digest: str) -> ShardOutcome | None:
    """The record of a shard, or None if it is not published whole, or not according to the plan."""
    store = store_at(out)
    try:
        data = store.read(_sidecar(plan.name))
    except FileNotFoundError:
        return None
    try:
        table = pq.read_table(pa.BufferReader(data))
        note = json.loads(table.schema.metadata[b"lia"])
        made_by, tar_bytes = note["plan_digest"], note["tar_bytes"]
        clip_ids = table["clip_id"].to_pylist()
        is_written = pc.is_null(table["reason"])
        written = _whole_rows(table.filter(is_written), MANIFEST_SCHEMA)
        failed = _whole_rows(table.filter(pc.invert(is_written)), FAILURES_SCHEMA)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    if made_by != plan_digest or clip_ids != plan.clips.column("clip_id").to_pylist():
        return None
    if (store.size(plan.file_name) or 0) != tar_bytes:
        return None
    return ShardOutcome(plan.name, plan_digest, tar_bytes, written, failed)


def remove_outcome(out: Location, shard: str) -> None:
    """Forget that a shard is done."""
    store_at(out).remove(_sidecar(shard))


def write_tables(out: Location, shards: Sequence[ShardOutcome]) -> None:
    """Write manifest.parquet and failures.parquet from all shards' records, in the plan's order."""
    for name, schema, tables in (
        ("manifest.parquet", MANIFEST_SCHEMA, [shard.written for shard in shards]),
        ("failures.parquet", FAILURES_SCHEMA, [shard.failed for shard in shards]),
    ):
        with store_at(out).publish(name, keep_equal=True) as partial:
            table = pa.concat_tables([schema.empty_table(), *tables])
            pq.write_table(table, partial, row_group_size=ROWS_A_GROUP)


def _whole_rows(table: Any, schema: Any) -> Any:
    """The columns of a schema; ValueError if a cell is empty."""
    table = table.select(schema.names)
    if any(table[name].null_count for name in schema.names):
        raise ValueError("empty cells")
    return table.cast(schema)


def _sidecar(shard: str) -> str:
    return f"{FOLDER}/{shard}.parquet"
