"""When a run has failed too often: arithmetic, and what the error says."""

from collections import Counter
from pathlib import Path

import pytest

from pipelines.errors import TooManyFailuresError
from pipelines.preparation.failure_limit import FailureLimit


def limit(rate: float | None, clips: int = 100) -> FailureLimit:
    return FailureLimit(out=Path("out"), clips=clips, rate=rate)


@pytest.mark.parametrize(
    ("rate", "failed", "kept"),
    [
        pytest.param(None, 100, True, id="no-limit"),
        pytest.param(0.0, 0, True, id="none-allowed-none-failed"),
        pytest.param(0.0, 1, False, id="none-allowed"),
        pytest.param(0.29, 29, True, id="exactly"),
        pytest.param(0.29, 30, False, id="one-more"),
        pytest.param(1.0, 100, True, id="all-allowed"),
    ],
)
def test_a_rate_is_kept_or_not(rate, failed, kept):
    counts = Counter({"": 100 - failed, "damaged": failed})
    if kept:
        limit(rate).check(counts)
    else:
        with pytest.raises(TooManyFailuresError):
            limit(rate).check(counts)


def test_the_limit_is_over_all_clips_and_not_over_those_done():
    limit(0.1).check(Counter(damaged=10))
    with pytest.raises(TooManyFailuresError, match=r"11 of 100 clips failed \(11\.0%, 89 not tried\)"):
        limit(0.1).check(Counter(damaged=11))


def test_a_share_just_above_the_limit_is_not_rounded_to_it():
    with pytest.raises(
        TooManyFailuresError, match=r"1006 of 1000000 clips failed \(0\.101%,.* 0\.001 allows"
    ):
        limit(0.001, clips=1_000_000).check(Counter(damaged=1006))


def test_the_commonest_reasons_are_named_in_one_line():
    counts = Counter({"": 5, "too_short": 7, "damaged": 20, "unreadable": 2, "missing_video": 9})
    with pytest.raises(TooManyFailuresError) as error:
        limit(0.05, clips=43).check(counts)
    assert "0.05 allows: 20 damaged, 9 missing_video, 7 too_short, and others." in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_what_is_no_part_of_the_clips_is_refused(rate):
    with pytest.raises(ValueError, match="from 0 to 1"):
        limit(rate)
