"""Settings of `download`, importable without anything heavy: the command line builds its help from them."""

from dataclasses import dataclass

# Of HTTP's many answers none is worth waiting longer for than this.
RETRY_AFTER_LIMIT_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """What is downloaded of a video, how fast, and how patiently."""

    height: int = 720
    """Largest resolution wanted, as the shorter side in pixels; the smallest above it where all are larger."""
    audio: bool = False
    """Merge the best sound in, where the best picture comes without."""
    concurrency: int = 4
    """Videos downloaded at once, over the whole cluster."""
    per_minute: float = 5.0
    """Attempts begun a minute, over the whole cluster; 0 is no limit. YouTube lets a guest have about 300 an hour."""
    bytes_per_second: int = 0
    """Bytes a second that each download may take; 0 is no limit."""
    attempts: int = 5
    """Attempts at a video in one run, where the failure is one that may pass."""
    backoff_seconds: float = 4.0
    """Wait before the second attempt; it doubles with each further one, and is shortened by up to half at random."""
    backoff_limit_seconds: float = 600.0
    """Longest such wait."""
    attempt_minutes_limit: float = 60.0
    """Minutes of wall clock an attempt may take; the next goes on where it stopped."""
    failures_in_a_row: int = 50
    """Attempts in a row that fail in ways that may pass, after which the run stops: then it is not the videos."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not 16 <= self.height <= 8640:
            raise ValueError(f"DownloadConfig.height must be from 16 to 8640, got {self.height}")
        for name in ("concurrency", "attempts", "failures_in_a_row"):
            if getattr(self, name) < 1:
                raise ValueError(f"DownloadConfig.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("per_minute", "bytes_per_second", "backoff_seconds", "backoff_limit_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"DownloadConfig.{name} must not be negative, got {getattr(self, name)}")
        if not self.attempt_minutes_limit > 0:
            raise ValueError(
                f"DownloadConfig.attempt_minutes_limit must be positive, got {self.attempt_minutes_limit}"
            )
