"""How many clips may fail before a dataset is not worth having: `--max-failure-rate`."""

from collections import Counter
from dataclasses import dataclass

from pipelines.errors import TooManyFailuresError
from pipelines.storage.location import Location

REASONS_NAMED = 3
MOST_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class FailureLimit:
    """A part of all clips that may fail. Without one, any number may."""

    out: Location
    """The dataset's folder."""
    clips: int
    """Clips of the whole dataset."""
    rate: float | None
    """From 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse what is no fraction."""
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise ValueError(f"max_failure_rate must be from 0 to 1, got {self.rate}")

    def check(self, counts: Counter[str]) -> None:
        """Raise TooManyFailuresError if the limit cannot be kept any more, whatever becomes of the other clips.

        `counts` are the clips done so far by reason of failure, those written under "".
        """
        failed = counts.total() - counts[""]
        if self.rate is None or failed / self.clips <= self.rate:
            return
        left = self.clips - counts.total()
        found = sorted((-count, reason) for reason, count in counts.items() if reason and count)
        reasons = ", ".join(f"{-count} {reason}" for count, reason in found[:REASONS_NAMED])
        more = ", and others" if len(found) > REASONS_NAMED else ""
        tried = f", {left} not tried" if left else ""
        share = _percent(failed / self.clips, self.rate)
        raise TooManyFailuresError(
            f"{self.out}: {failed} of {self.clips} clips failed ({share}{tried}), more than "
            f"max-failure-rate {self.rate:g} allows: {reasons}{more}. Mend the videos that failures.parquet there "
            f"names and run again with --retry-failed, or raise the limit."
        )


def _percent(share: float, limit: float) -> str:
    """A share above the limit in percent, with as many digits as show that it is above."""
    digits = next((count for count in range(1, MOST_DIGITS) if round(share, 2 + count) > limit), MOST_DIGITS)
    return f"{share:.{digits}%}"
