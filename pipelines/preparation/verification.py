"""Are the clips of published shards still the bytes that were written? Their sha256 is in the shards' records."""

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipelines.errors import StorageError
from pipelines.preparation.outcomes import ShardOutcome
from pipelines.progress import progress_line
from pipelines.storage.location import Location
from pipelines.storage.store import Store, store_at

SHARDS_AT_ONCE = 16


def damaged_clips(out: Location, shards: Sequence[ShardOutcome], *, show: bool) -> dict[str, str]:
    """The first damaged clip of each shard that has one, by the shard's name; the mp4s are read whole.

    Raises StorageError if object storage does not answer; what a disk cannot read counts as damaged.
    """
    store = store_at(out)
    done: Counter[str] = Counter()

    def check(shard: ShardOutcome) -> str | None:
        found = first_damaged_clip(store, shard)
        done["" if found is None else "damaged"] += 1
        return found

    stream = sys.stderr if show else None
    with (
        progress_line(lambda: Counter(done), Counter(), len(shards), stream, name="verify", unit="shards"),
        ThreadPoolExecutor(SHARDS_AT_ONCE) as pool,
    ):
        found = pool.map(check, shards)
        return {shard.name: clip for shard, clip in zip(shards, found, strict=True) if clip is not None}


def first_damaged_clip(store: Store, shard: ShardOutcome) -> str | None:
    """The id of the first clip whose mp4 in the shard has other bytes than were recorded; None if there is none."""
    rows = shard.written.select(["clip_id", "shard", "mp4_offset", "mp4_size", "sha256"]).to_pylist()
    if not rows:
        return None
    clip_id = str(rows[0]["clip_id"])
    try:
        with store.open(rows[0]["shard"]) as file:
            for row in rows:
                clip_id = str(row["clip_id"])
                file.seek(row["mp4_offset"])
                if hashlib.sha256(file.read(row["mp4_size"])).hexdigest() != row["sha256"]:
                    return clip_id
    except StorageError:
        raise
    except OSError:
        return clip_id
    return None
