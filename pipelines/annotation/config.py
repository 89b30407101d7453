"""Settings of `annotate`, importable without anything heavy: the command line builds its help from them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class AnnotateConfig:
    """How detections become clips. The defaults are the rule by which VoxCeleb and TaiChi-HD were published."""

    min_score: float | None = None
    """Detections that score less are passed over, 0 to 1; none: what suits the detector (faces 0.6, bodies 0.5)."""
    min_iou: float = 0.25
    """A track ends where its box overlaps its first box (intersection over union) by less than this."""
    max_frames: int = 1024
    """Frames at which a track ends and the next one begins."""
    min_frames: int = 64
    """Tracks of fewer frames are dropped."""
    min_px: int = 256
    """Tracks are dropped whose boxes, all together, span fewer pixels of the video than this on the longer side."""
    widen: float = 1.2
    """Side of the square that is cut, in multiples of the longer side of all the track's boxes together."""
    out_of_frame: Literal["reject", "shift"] = "reject"
    """What to do with a square that leaves the frame: drop the track, or move the square inside if it fits."""
    detect_every: int = 1
    """Look for people on every n-th frame only; boxes between are interpolated, frames beyond are left out."""
    max_misses: int = 0
    """Looks in a row that may miss a person before the track ends; boxes between are interpolated."""
    cut_threshold: float = 0.22
    """Share of the picture's light that changes at once where a new shot begins; 0 to 1, and 1 finds none."""
    test_fraction: float = 0.1
    """Share of the subjects (of the videos, where none are named) whose clips are for testing; 0 to below 1."""
    frame_px: int = 640
    """Frames are shrunk to this longer side before detectors see them; boxes are in the video's own pixels."""
    batch: int = 16
    """Frames given to a detector at once."""
    detectors: int = 0
    """Detector processes; 0: one for each GPU asked for, without GPUs three quarters of the processors."""
    detector_gpus: float = 0.0
    """GPUs, or share of one, for each process of a detector that uses them; the shipped ones run on processors."""
    stall_seconds: float = 300.0
    """A video is given up when decoding its next frames takes longer than this."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        self._require("min_score", self.min_score is None or 0 <= self.min_score <= 1, "from 0 to 1")
        for name in ("min_iou", "cut_threshold"):
            self._require(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        self._require("test_fraction", 0 <= self.test_fraction < 1, "from 0 to below 1")
        self._require("min_frames", self.min_frames >= 1, "at least 1")
        self._require("max_frames", self.max_frames >= self.min_frames, "at least min_frames")
        self._require("widen", 1 <= self.widen <= 10, "from 1 to 10")
        self._require("out_of_frame", self.out_of_frame in ("reject", "shift"), "reject or shift")
        self._require("frame_px", 64 <= self.frame_px <= 8192, "from 64 to 8192")
        for name in ("detect_every", "batch"):
            self._require(name, 1 <= getattr(self, name) <= 1000, "from 1 to 1000")
        for name in ("min_px", "max_misses", "detectors", "detector_gpus"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        gpus = self.detector_gpus
        self._require(
            "detector_gpus", gpus <= 1 or float(gpus).is_integer(), "a share of one GPU, or a whole number"
        )
        self._require("stall_seconds", self.stall_seconds > 0, "above 0")

    def content(self) -> dict[str, Any]:
        """The settings that decide what is found in a video."""
        return {name: value for name, value in asdict(self).items() if name not in _OTHERS}

    def _require(self, name: str, right: bool, rule: str) -> None:
        if not right:
            raise ValueError(f"AnnotateConfig.{name} must be {rule}, got {getattr(self, name)!r}")


# Partition is decided after all videos are done; the rest is how the work is spread.
_OTHERS = frozenset({"test_fraction", "detectors", "detector_gpus", "batch", "stall_seconds"})
