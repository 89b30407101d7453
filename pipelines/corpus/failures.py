"""Why a clip did not become a sample: a closed list of reasons, each belonging to one stage."""

from dataclasses import dataclass
from typing import Literal, get_args

Stage = Literal["probe", "crop", "decode", "encode"]
Reason = Literal[
    "missing_video",
    "empty_file",
    "unreadable",
    "still_image",
    "no_video_stream",
    "empty_folder",
    "missing_frames",
    "mixed_sizes",
    "too_large",
    "box_outside_frame",
    "box_too_small",
    "too_short",
    "damaged",
    "timed_out",
    "crashed_decoder",
    "encode_failed",
]
REASONS: tuple[str, ...] = get_args(Reason)

STAGE_OF: dict[Reason, Stage] = {
    "missing_video": "probe",
    "empty_file": "probe",
    "unreadable": "probe",
    "still_image": "probe",
    "no_video_stream": "probe",
    "empty_folder": "probe",
    "missing_frames": "probe",
    "mixed_sizes": "probe",
    "too_large": "probe",
    "box_outside_frame": "crop",
    "box_too_small": "crop",
    "too_short": "decode",
    "damaged": "decode",
    "timed_out": "decode",
    "crashed_decoder": "decode",
    "encode_failed": "encode",
}


@dataclass(frozen=True)
class Rejected:
    """One clip that could not be written, as failures.parquet records it."""

    reason: Reason
    message: str

    @property
    def stage(self) -> Stage:
        """The step of preparation at which the clip was given up."""
        return STAGE_OF[self.reason]


class ClipError(Exception):
    """Raised where a clip turns out unusable; caught at the clip's boundary and recorded as `rejected`."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.rejected = Rejected(reason, message)
