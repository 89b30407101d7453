"""Which clip drives which in cross-video transfer: pairs of clips of different people, the same for everyone.

A pure function of the clips and a seed, and kept with the dataset: next year's models are compared on the same.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.dataset.pairs import PairDataset
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_path

SEED = 0
MAX_FRAMES = 100
"""Of a driving clip, as in the papers."""


@dataclass(frozen=True)
class TransferPair:
    """Two clips, by their number in the partition."""

    source: int
    """Its first frame is animated."""
    driving: int
    """Its first MAX_FRAMES frames drive."""


def pairs_file(root: Path, partition: str) -> Path:
    """Where a dataset's pairs lie."""
    return root / f"transfer-{partition}.json"


def transfer_pairs(dataset: PairDataset) -> list[TransferPair]:
    """Every clip once as the source, driven by a clip of someone else; read from the dataset's folder or put there.

    A dataset on a server, or in a folder that cannot be written, gets the same pairs; they are only not kept. Raises
    InputError if all clips are of one person or the file is damaged or of other clips.
    """
    names = list(dataset.clip_ids)
    path = pairs_file(dataset.root, dataset.partition) if isinstance(dataset.root, Path) else None
    if path and path.exists():
        return _read(path, names, dataset.people, dataset.digest)
    pairs = _make(names, dataset.people)
    if path:
        document = {
            "dataset_digest": dataset.digest,
            "seed": SEED,
            "pairs": [{"source": names[pair.source], "driving": names[pair.driving]} for pair in pairs],
        }
        try:
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"{path}: the pairs are not kept ({error.strerror})", flush=True)
    return pairs


def _make(names: Sequence[str], people: Sequence[str]) -> list[TransferPair]:
    """In the order of a hash of the names, each is driven by the next one of someone else."""
    order = sorted(
        range(len(names)), key=lambda clip: hashlib.sha256(f"{SEED} {names[clip]}".encode()).digest()
    )
    place = {clip: number for number, clip in enumerate(order)}
    if len(set(people)) < 2:
        raise InputError(
            "transfer needs clips of two people or more, and all clips of this partition are of one "
            f"({people[0]}): evaluate by reconstruction"
        )

    def driven_by(source: int) -> int:
        return next(
            other
            for step in range(1, len(order))
            if people[other := order[(place[source] + step) % len(order)]] != people[source]
        )

    return [TransferPair(source, driven_by(source)) for source in range(len(names))]


def _read(path: Path, names: Sequence[str], people: Sequence[str], digest: str) -> list[TransferPair]:
    number = {name: clip for clip, name in enumerate(names)}
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if (of := document["dataset_digest"]) != digest:
            raise InputError(f"{path}: is of another dataset ({of}). Delete it: it is made anew.")
        pairs = [TransferPair(number[pair["source"]], number[pair["driving"]]) for pair in document["pairs"]]
        if not pairs or len(set(pairs)) < len(pairs):
            raise ValueError("no pairs, or one of them twice")
        for pair in pairs:
            if people[pair.source] == people[pair.driving]:
                raise ValueError(f"{names[pair.source]} is driven by a clip of the same person")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged ({type(error).__name__}: {error}). Delete it: it is made anew."
        ) from None
    return pairs
