"""The folder of a dataset: whose it is, what is published in it, and the files that describe the whole."""

import fcntl
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import PARTITIONS
from pipelines.corpus.metadata import Metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.errors import DatasetError
from pipelines.preparation.outcomes import (
    FOLDER,
    MARK,
    PLANNED,
    REFUSED,
    ShardOutcome,
    read_outcome,
    remove_outcome,
    write_tables,
)
from pipelines.preparation.plan import (
    SCHEMA_VERSION,
    ShardPlan,
    config_digest,
    content_digest,
    plan_digest,
)
from pipelines.storage.location import Location
from pipelines.storage.store import Store, store_at

DESCRIPTION = "dataset.json"
INSPECTION = "inspect.html"
"""The page that shows the dataset to a person, where one was made."""
LOOKED_UP_AT_ONCE = 16
_DESCRIBING = (DESCRIPTION, "manifest.parquet", "failures.parquet", "shardindex.json", REFUSED, INSPECTION)


@dataclass(frozen=True, kw_only=True)
class DatasetFolder:
    """One dataset's folder, claimed for one clip table and configuration."""

    out: Location
    config: PrepareConfig
    clips: ClipColumns
    producer: str
    """Version of ffmpeg."""

    @cached_property
    def digest(self) -> str:
        """Identity of the plan."""
        return plan_digest(self.clips.digest, self.config)

    def claim(self) -> None:
        """Create the folder or make sure that it is this dataset's; raises DatasetError if it holds another."""
        if self._store.size(MARK) is not None:
            self._compare(self._store.read(MARK))
            return
        if any(not name.startswith(".") for name in self._store.names()):
            raise DatasetError(
                f"{self.out}: holds other files and no dataset of this platform. Name an empty or new folder."
            )
        self._store.create(FOLDER)
        _write_json(self._store, MARK, self._identity())

    @contextmanager
    def sole_writer(self) -> Iterator[None]:
        """Keep a second preparation out of a folder on disk; raises DatasetError if there is one.

        Object storage has no locks: there two runs do the work twice, and publish the same bytes.
        """
        if not isinstance(self.out, Path):
            yield
            return
        with (self.out / MARK).open("rb") as mark:
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatasetError(
                    f"{self.out}: another `lia prepare` is at work there. Wait for it, or name another folder."
                ) from None
            except OSError:
                pass  # a file system without locks
            yield

    def published(self, plan: ShardPlan) -> ShardOutcome | None:
        """The record of a shard that is there whole and matches the plan."""
        return read_outcome(self.out, plan, self.digest)

    def look_up(self, plans: Sequence[ShardPlan]) -> list[ShardOutcome | None]:
        """`published` of each plan, many at a time: on object storage each takes a few round trips."""
        with ThreadPoolExecutor(LOOKED_UP_AT_ONCE) as pool:
            return list(pool.map(self.published, plans))

    def require_published(self, plans: Sequence[ShardPlan]) -> list[ShardOutcome]:
        """The records of shards that have just been made; raises DatasetError if something removed one."""
        outcomes = []
        for plan, outcome in zip(plans, self.look_up(plans), strict=True):
            if outcome is None:
                raise DatasetError(
                    f"{self.out}: shard {plan.name} was made and is gone or changed. Is another program writing "
                    f"there, or is the folder not shared between the machines? Run the command again."
                )
            outcomes.append(outcome)
        return outcomes

    def description(self) -> dict[str, Any]:
        """What dataset.json says."""
        return dict(json.loads(self._store.read(DESCRIPTION)))

    def reopen(self, redo: Iterable[ShardPlan]) -> None:
        """Withdraw the description before shards are made: what is unfinished must not look finished.

        Leftovers of killed runs go too. Raises DatasetError if the shards there are of another ffmpeg.
        """
        before = json.loads(self._store.read(MARK))["ffmpeg"]
        if before != self.producer:
            raise DatasetError(
                f"{self.out}: was begun with ffmpeg {before}, this is {self.producer}; their frames differ. "
                f"Name another folder or delete this one."
            )
        for name in _DESCRIBING:
            self._store.remove(name)
        with ThreadPoolExecutor(LOOKED_UP_AT_ONCE) as pool:
            deque(pool.map(lambda plan: remove_outcome(self.out, plan.name), redo), maxlen=0)
        self.sweep()

    def announce(self, plans: Sequence[ShardPlan]) -> None:
        """Publish how many clips each shard of the whole plan is to hold, so that others see how far the work is."""
        _write_json(self._store, PLANNED, {"clips": {plan.name: len(plan.clips) for plan in plans}})

    def sweep(self) -> None:
        """Remove what killed processes left half written."""
        for folder in ("", FOLDER):
            self._store.remove_leftovers(folder)

    def refuse(self, shards: Sequence[ShardOutcome], why: str) -> None:
        """Keep the shards and list what failed, but leave nothing by which the dataset could be taken for whole."""
        for name in (DESCRIPTION, "shardindex.json"):
            self._store.remove(name)
        write_tables(self.out, shards)
        with self._store.publish(REFUSED) as partial:
            partial.write_text(why + "\n", encoding="utf-8")

    def describe(self, shards: Sequence[ShardOutcome], metadata: Metadata) -> None:
        """Write manifest, failures, shard index and, last, dataset.json, from all shards in the plan's order."""
        # A finished dataset is confirmed without writing: it may lie on a disk that can only be read.
        if self._store.size(REFUSED) is not None:
            self._store.remove(REFUSED)
        self.describe_at(self.out, shards, metadata)

    def describe_at(self, place: Location, shards: Sequence[ShardOutcome], metadata: Metadata) -> None:
        """Write there what describes a dataset of these shards, dataset.json last."""
        store = store_at(place)
        write_tables(place, shards)
        _write_json(store, "shardindex.json", self._shard_index(shards))
        _write_json(store, DESCRIPTION, self._description(shards, metadata))

    @property
    def _store(self) -> Store:
        return store_at(self.out)

    def _description(self, shards: Sequence[ShardOutcome], metadata: Metadata) -> dict[str, Any]:
        partitions = _tally(shard.written["partition"] for shard in shards)
        reasons = _tally(shard.failed["reason"] for shard in shards)
        return {
            "schema_version": SCHEMA_VERSION,
            "dataset": "+".join(self.clips.distinct("dataset")),
            "size": self.config.size,
            "config": asdict(self.config),
            "counts": {
                "clips": partitions.total() + reasons.total(),
                "written": partitions.total(),
                "failed": reasons.total(),
                "by_partition": {name: partitions[name] for name in PARTITIONS},
                "by_reason": dict(sorted(reasons.items())),
                "frames": sum(pc.sum(shard.written["n_frames"]).as_py() or 0 for shard in shards),
                "shards": sum(shard.tar_bytes > 0 for shard in shards),
                "bytes": sum(shard.tar_bytes for shard in shards),
            },
            "digest": content_digest(self.digest, chain.from_iterable(map(_digests, shards))),
            "plan_digest": self.digest,
            "source": {
                "metadata_sha256": metadata.sha256,
                "metadata_rows": metadata.rows,
                "duplicate_rows": metadata.duplicates,
            },
            "producer": {"platform": _platform_version(), "ffmpeg": self.producer},
        }

    def _shard_index(self, shards: Sequence[ShardOutcome]) -> dict[str, Any]:
        """The index that `wids` opens for random access by sample."""
        return {
            "wids_version": 1,
            "name": "+".join(self.clips.distinct("dataset")),
            "shardlist": [
                {"url": f"{shard.name}.tar", "nsamples": shard.written.num_rows, "filesize": shard.tar_bytes}
                for shard in shards
                if shard.written.num_rows
            ],
        }

    def _identity(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "plan_digest": self.digest,
            "clips_digest": self.clips.digest,
            "config_digest": config_digest(self.config),
            "config": self.config.content(),
            "ffmpeg": self.producer,
        }

    def _compare(self, mark: bytes) -> None:
        try:
            there = json.loads(mark)
            if there["schema_version"] != SCHEMA_VERSION:
                difference = f"in format {there['schema_version']}, not {SCHEMA_VERSION}"
            elif there["config_digest"] != config_digest(self.config):
                difference = f"with other settings ({_differences(there['config'], self.config.content())})"
            elif there["clips_digest"] != self.clips.digest:
                difference = (
                    "of other clips (the metadata, or a folder of clips: its files, --fps, --test-fraction)"
                )
            else:
                return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{self.out / MARK}: damaged ({error}). Delete {self.out} or name another folder."
            ) from None
        raise DatasetError(
            f"{self.out}: holds another dataset, {difference}. Name another folder or delete this one."
        )


def _write_json(store: Store, name: str, content: dict[str, Any]) -> None:
    with store.publish(name, keep_equal=True) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _tally(columns: Iterable[Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for column in columns:
        counts.update(column.to_pylist())
    return counts


def _digests(shard: ShardOutcome) -> Iterator[tuple[str, str]]:
    """(clip_id, sha256) of each clip written."""
    return zip(shard.written["clip_id"].to_pylist(), shard.written["sha256"].to_pylist(), strict=True)


def _differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {there.get(key)}, now {here[key]}" for key in here if there.get(key) != here[key]
    )


def _platform_version() -> str:
    try:
        return version("lia-platform")
    except PackageNotFoundError:
        return "unknown"
