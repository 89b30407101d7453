"""A deterministic partition by subject: nobody is seen both in training and in testing."""

import hashlib
from collections.abc import Iterable

from pipelines.errors import InputError

TEST_FRACTION = 0.1


def check_test_fraction(fraction: float) -> None:
    """Refuse a share that is none (InputError)."""
    if not 0 <= fraction < 1:
        raise InputError(
            f"--test-fraction {fraction:g}: give a share of the subjects, at least 0 and below 1"
        )


def choose_test_subjects(subjects: Iterable[str], fraction: float) -> frozenset[str]:
    """The subjects to test on: this share of them, but at least one and never all, in the order of a hash.

    A single subject is trained on. The choice depends on nothing but the set of names and the share. Since it is
    exactly that share, names that come or go can move a few others over.
    """
    check_test_fraction(fraction)
    ranked = sorted(set(subjects), key=lambda name: hashlib.sha256(name.encode()).digest())
    if not fraction or len(ranked) < 2:
        return frozenset()
    return frozenset(ranked[: min(max(1, round(fraction * len(ranked))), len(ranked) - 1)])
