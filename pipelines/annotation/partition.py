"""Which subjects are for training and which for testing: nobody is in both."""

import hashlib
from collections.abc import Iterable

from pipelines.corpus.clip_table import Partition


def partition_subjects(subjects: Iterable[str], test_fraction: float) -> dict[str, Partition]:
    """Each subject's partition: by a hash of its name, so that it stays when others come or go.

    Of two or more subjects at least one is in each partition, unless the fraction is 0 or 1: with few of them
    chance alone would often leave one empty.
    """
    ranks = {subject: _rank(subject) for subject in sorted(set(subjects))}
    partitions: dict[str, Partition] = {
        subject: "test" if rank < test_fraction else "train" for subject, rank in ranks.items()
    }
    if len(ranks) > 1 and 0 < test_fraction < 1:
        ordered = sorted(ranks, key=lambda subject: (ranks[subject], subject))
        partitions[ordered[0]] = "test"
        partitions[ordered[-1]] = "train"
    return partitions


def _rank(subject: str) -> float:
    """A number from 0 to 1, evenly spread over names."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:7]) / 2**56
