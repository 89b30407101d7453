"""Editions of a dataset that is being prepared: each describes what there is of it by then, as if that were all.

    OUT/.editions/000001/   dataset.json, manifest.parquet, failures.parquet, shardindex.json; its shards lie in OUT
    OUT/.editions/newest.json

An edition has all held-out clips, so that scores stay comparable, and twice as many training shards as the one
before: describing and reading all of them costs no more than twice the whole.
"""

import json
from collections.abc import Callable, Iterable, Sequence

from pipelines.corpus.metadata import Metadata
from pipelines.preparation.dataset_folder import DatasetFolder
from pipelines.preparation.plan import ShardPlan
from pipelines.storage.location import Location
from pipelines.storage.store import store_at

FOLDER = ".editions"
NEWEST = f"{FOLDER}/newest.json"
GROWTH = 2
"""Training shards of an edition, as a multiple of those of the one before."""

Announce = Callable[[int, int], None]
"""Is told the number of an edition that has just been published, and its training clips."""


def edition_folder(number: int) -> str:
    """Where in its dataset's folder an edition is described."""
    return f"{FOLDER}/{number:06d}"


def read_newest(root: Location) -> tuple[int, bool]:
    """The number of the edition that was published last, 0 if there is none, and whether its shards are all there."""
    try:
        found = json.loads(store_at(root).read(NEWEST))
        return int(found["edition"]), bool(found["valid"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, False


class Editions:
    """Publishes editions as shards are published."""

    def __init__(
        self, folder: DatasetFolder, plans: Sequence[ShardPlan], metadata: Metadata, announce: Announce
    ) -> None:
        self._folder, self._plans, self._metadata, self._announce = folder, plans, metadata, announce
        self._held_out = {plan.name for plan in plans if not plan.trains}
        self._done: set[str] = set()
        self._number, self._train_shards = 0, 0

    def begin(self, kept: Iterable[str]) -> None:
        """Shards of these names are there already; those of earlier editions may be made anew now."""
        self._number, _ = read_newest(self._folder.out)
        if self._number:
            self._point(valid=False)
        self.add(kept)

    def add(self, made: Iterable[str]) -> None:
        """Shards of these names have been published."""
        self._done.update(made)
        train_shards = len(self._done - self._held_out)
        if (
            self._held_out <= self._done
            and train_shards >= max(1, GROWTH * self._train_shards)
            and len(self._done) < len(self._plans)  # then the dataset itself is next
        ):
            self._publish(train_shards)

    def _publish(self, train_shards: int) -> None:
        shards = self._folder.require_published([plan for plan in self._plans if plan.name in self._done])
        clips = sum(shard.written.num_rows for shard in shards if shard.name not in self._held_out)
        if not clips:  # all failed: nothing to train on yet
            return
        self._number += 1
        self._train_shards = train_shards
        place = self._folder.out / edition_folder(self._number)
        store_at(place).create("")
        self._folder.describe_at(place, shards, self._metadata)
        self._point(valid=True)
        self._announce(self._number, clips)

    def _point(self, *, valid: bool) -> None:
        with store_at(self._folder.out).publish(NEWEST) as partial:
            partial.write_text(json.dumps({"edition": self._number, "valid": valid}) + "\n", encoding="utf-8")
