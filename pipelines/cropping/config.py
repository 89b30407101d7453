"""Settings of `prepare`, importable without anything heavy: the command line builds its help from them."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How clips are cropped, encoded and packed into shards."""

    size: int = 256
    """Side in pixels of the square frames written; even, from 16 to 4096."""
    jpeg_q: int = 2
    """Quality of each JPEG on FFmpeg's scale: 2 is best (about 9 KB a frame at 256 px), 31 is worst."""
    chroma: Literal["420", "444"] = "420"
    """Chroma of each JPEG. 444 keeps full colour resolution for a quarter more bytes."""
    shard_mb: int = 256
    """Megabytes (10^6 bytes) a shard aims at, judged from frame counts before anything is encoded."""
    clip_seconds_limit: float = 600.0
    """Seconds of wall clock that decoding and encoding one clip may take."""
    probe_seconds_limit: float = 60.0
    """Seconds of wall clock that finding out what a video holds may take."""
    decoder_gb_limit: float = 4.0
    """Memory (10^9 bytes of address space) that a process decoding one clip may take; 8K video needs 2."""
    max_megapixels: float = 40.0
    """Videos whose frames are larger (in 10^6 pixels) are refused: 8K is 33."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not 16 <= self.size <= 4096 or self.size % 2:
            raise ValueError(f"PrepareConfig.size must be even and from 16 to 4096, got {self.size}")
        if not 2 <= self.jpeg_q <= 31:
            raise ValueError(f"PrepareConfig.jpeg_q must be from 2 to 31, got {self.jpeg_q}")
        if self.chroma not in ("420", "444"):
            raise ValueError(f"PrepareConfig.chroma must be 420 or 444, got {self.chroma!r}")
        if self.shard_mb < 1:
            raise ValueError(f"PrepareConfig.shard_mb must be at least 1, got {self.shard_mb}")
        for limit in ("clip_seconds_limit", "probe_seconds_limit", "max_megapixels"):
            if not 0 < getattr(self, limit) <= _MAX_LIMIT:
                raise ValueError(
                    f"PrepareConfig.{limit} must be above 0 and at most {_MAX_LIMIT}, got {getattr(self, limit)}"
                )
        if not 1 <= self.decoder_gb_limit <= _MAX_LIMIT:
            raise ValueError(
                f"PrepareConfig.decoder_gb_limit must be from 1 to {_MAX_LIMIT}, got {self.decoder_gb_limit}"
            )

    def content(self) -> dict[str, Any]:
        """The settings that decide what a dataset holds; limits on the work do not."""
        return {field.name: asdict(self)[field.name] for field in fields(self) if field.name not in _LIMITS}


# A terabyte, a terapixel or 11 days; ffmpeg and the system take larger numbers for something else.
_MAX_LIMIT = 1_000_000
_LIMITS = frozenset({"clip_seconds_limit", "probe_seconds_limit", "decoder_gb_limit", "max_megapixels"})
