"""A dataset that may still be in preparation, as those see it who train on what there is of it so far."""

import json

from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.source import DatasetSource, LocalDataset, RemoteDataset, open_source
from pipelines.errors import DatasetError
from pipelines.preparation.editions import edition_folder, read_newest
from pipelines.preparation.outcomes import MARK
from pipelines.storage.location import Location, RemoteFolder, parse_location
from pipelines.storage.store import store_at

WHOLE = 0
"""In place of an edition's number: the dataset itself, once its preparation is over."""


class GrowingDataset:
    """One partition of the dataset at a location."""

    def __init__(self, root: str | Location, partition: str) -> None:
        self.root, self.partition = parse_location(root), partition

    def newest(self) -> int:
        """The edition to use: WHOLE, or the last one published. Raises DatasetError where nothing is published yet."""
        return newest_edition(self.root)

    def open(self, edition: int) -> PairDataset:
        """The clips of an edition; raises what PairDataset raises."""
        return PairDataset(open_edition(self.root, edition), self.partition)


def newest_edition(root: Location) -> int:
    """WHOLE, or the edition that was published last. Raises DatasetError where nothing is published yet."""
    if store_at(root).size("dataset.json") is not None:
        return WHOLE
    number, valid = read_newest(root)
    if not valid:
        raise DatasetError(
            f"{root}: nothing of it is published yet. Prepare it with `lia run --wait-for first`."
        )
    return number


def open_edition(root: Location, edition: int) -> DatasetSource:
    """The files of an edition. Raises DatasetError if it is absent."""
    if edition == WHOLE:
        return open_source(root)
    if isinstance(root, RemoteFolder):
        return RemoteDataset.open(root / edition_folder(edition), shards=root)
    return LocalDataset(root / edition_folder(edition), shards=root)


def open_newest(root: str | Location) -> DatasetSource:
    """The files of the newest edition, or of the whole. Raises DatasetError where nothing is published yet."""
    root = parse_location(root)
    return open_edition(root, newest_edition(root))


def digest_of(root: str | Location, *, grows: bool) -> str:
    """By which a run knows the dataset it trains on again: what it holds, or the plan of one that still `grows`."""
    return _plan_digest(parse_location(root)) if grows else PairDataset(root, "train").digest


def _plan_digest(root: Location) -> str:
    """Digest of which clips the dataset holds once it is whole, and how they are cut. Raises DatasetError."""
    try:
        return str(json.loads(store_at(root).read(MARK))["plan_digest"])
    except FileNotFoundError:
        raise DatasetError(f"{root}: is no dataset of this platform: {MARK} is missing.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{root / MARK}: damaged ({error!r}). Delete {root} and prepare it anew."
        ) from None
