"""Which runs, datasets and sweeps lie in or below a folder."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from orchestration.sweep.plan import PLAN
from pipelines.storage.location import Location

DEPTH = 2
"""Folders within folders that are looked into: of `lia run --out out/a`, seen from the folder of `out`."""
MOST_ENTRIES = 1000
"""Of a folder that are looked at: a folder of a million videos holds no runs."""


@dataclass
class Places:
    """What was found, in the order of names."""

    runs: list[Path]
    datasets: list[Location]
    sweeps: list[Path]

    def __bool__(self) -> bool:
        return bool(self.runs or self.datasets or self.sweeps)


def find_places(roots: Iterable[Location]) -> Places:
    """What is in or below the folders. An address on other storage is a dataset's."""
    found = Places([], [], [])
    for root in roots:
        if isinstance(root, Path):
            _look(root, DEPTH, found)
        else:
            found.datasets.append(root)
    return found


def _look(folder: Path, depth: int, found: Places) -> None:
    if (folder / "run.json").is_file():
        found.runs.append(folder)
    elif (folder / PLAN).is_file():
        found.sweeps.append(folder)
    elif (folder / "dataset.json").is_file() or (folder / ".outcomes").is_dir():
        found.datasets.append(folder)
    elif depth:
        for name in _folders(folder):
            _look(folder / name, depth - 1, found)


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in islice(entries, MOST_ENTRIES)
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            )
    except OSError:
        return []
