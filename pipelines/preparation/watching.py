"""How far a preparation is, told from what it has published so far: for others than the one who does it."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.preparation.dataset_folder import DESCRIPTION, LOOKED_UP_AT_ONCE
from pipelines.preparation.outcomes import FOLDER, MARK, PLANNED, REFUSED
from pipelines.storage.location import Location
from pipelines.storage.store import Store, store_at

State = Literal["finished", "unfinished", "refused"]


@dataclass(frozen=True, kw_only=True)
class PreparationProgress:
    """What has become of a dataset's clips. None where it is not known."""

    state: State
    shards: int
    """Shards done."""
    shards_planned: int | None
    clips: int | None
    """Clips in them, failed ones included."""
    clips_planned: int | None
    failed: int
    """Clips that failed, in `looked_at` of the shards done."""
    looked_at: int
    published_at: float | None = None
    """When the last shard was, in seconds since 1970; not known of object storage."""
    why: str = ""
    """Why it was refused."""


def read_progress(dataset: Location, *, seconds: float) -> PreparationProgress | None:
    """How far the preparation in `dataset` is; None where none was begun.

    Clips that failed are counted shard by shard, for as long as `seconds`. Raises InputError for a place that cannot be
    prepared to, and StorageError.
    """
    store = store_at(dataset)
    if description := _json(store, DESCRIPTION):
        return _finished(description)
    if store.size(MARK) is None:
        return None
    done = sorted(
        name.removesuffix(".parquet")
        for name in store_at(dataset / FOLDER).names()
        if name.endswith(".parquet") and not name.startswith(".")
    )
    planned: Mapping[str, int] = _json(store, PLANNED).get("clips", {})
    failed, looked_at = _count_failed(store, done, seconds)
    refused = _text(store, REFUSED)
    return PreparationProgress(
        state="refused" if refused else "unfinished",
        shards=len(done),
        shards_planned=len(planned) or None,
        clips=sum(planned.get(name, 0) for name in done) if planned else None,
        clips_planned=sum(planned.values()) if planned else None,
        failed=failed,
        looked_at=looked_at,
        published_at=_published_at(dataset, done),
        why=refused,
    )


def _finished(description: Mapping[str, Any]) -> PreparationProgress:
    counts = description["counts"]
    return PreparationProgress(
        state="finished",
        shards=counts["shards"],
        shards_planned=counts["shards"],
        clips=counts["clips"],
        clips_planned=counts["clips"],
        failed=counts["failed"],
        looked_at=counts["shards"],
    )


def _count_failed(store: Store, done: Sequence[str], seconds: float) -> tuple[int, int]:
    """Clips that failed, and the number of shards whose records were read before time was up."""
    end = time.monotonic() + seconds
    failed = looked_at = 0
    with ThreadPoolExecutor(LOOKED_UP_AT_ONCE) as pool:
        for first in range(0, len(done), LOOKED_UP_AT_ONCE):
            if time.monotonic() > end:
                break
            for found in pool.map(lambda name: _failed(store, name), done[first : first + LOOKED_UP_AT_ONCE]):
                if found is not None:
                    failed += found
                    looked_at += 1
    return failed, looked_at


def _failed(store: Store, shard: str) -> int | None:
    """Clips that failed, by a shard's record; None where it has gone or is damaged."""
    try:
        with store.open(f"{FOLDER}/{shard}.parquet") as file:
            reasons = pq.read_table(file, columns=["reason"])["reason"]
    except (FileNotFoundError, pa.ArrowException, KeyError):
        return None
    return len(reasons) - int(reasons.null_count)


def _published_at(dataset: Location, done: Iterable[str]) -> float | None:
    if not isinstance(dataset, Path):
        return None
    times = [
        path.stat().st_mtime for name in done if (path := dataset / FOLDER / f"{name}.parquet").is_file()
    ]
    return max(times, default=None)


def _json(store: Store, name: str) -> dict[str, Any]:
    try:
        document = json.loads(_text(store, name) or "{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(store: Store, name: str) -> str:
    try:
        return store.read(name).decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
