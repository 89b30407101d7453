"""VoxCeleb's own annotations: DIR/<person>/<video_id>/<utterance>.txt, the speaker's box in frames at 25 fps.

    Identity  : <tab>id10661
    Reference : <tab>lSI69L4DidQ
    (further lines of the same kind)
    <empty line>
    FRAME <tab>X <tab>Y <tab>W <tab>H
    002316 <tab>223 <tab>80 <tab>130 <tab>130

VoxCeleb 1 counts whole pixels of a frame 360 high, VoxCeleb 2 shares of the frame's width and height (0.319).
"""

import bisect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pipelines.annotation.regions import Region, iou
from pipelines.corpus.clip_table import check_id
from pipelines.corpus.spans import RATE_PRECISION
from pipelines.errors import InputError, MetadataError

UTTERANCE_FPS = 25
V1_HEIGHT = 360
MAX_BYTES = 50_000_000
HEADER = ("FRAME", "X", "Y", "W", "H")
MAX_FRAME = 10**8

Version = Literal[1, 2]

_FIELD = re.compile(r"(\w[\w ]*?)\s*:\s*(.*)")
_WHOLE = re.compile(r"-?\d{1,6}", re.ASCII)
_SHARE = re.compile(r"-?\d{0,4}\.\d{1,17}", re.ASCII)


@dataclass(frozen=True)
class Utterance:
    """One stretch of a video in which one person speaks."""

    person: str
    """Whose voice it is; dots become underscores, as ids have none."""
    video_id: str
    version: Version
    frames: tuple[int, ...]
    """Numbers at 25 fps, ascending."""
    boxes: tuple[tuple[float, float, float, float], ...]
    """x, y, width, height for each frame, in the version's units."""

    def covers(self, number: int, fps: Fraction) -> bool:
        """Whether there is a box for native frame `number` of a video of `fps`."""
        return self._index(number, fps) is not None

    def region_at(self, number: int, fps: Fraction, size: tuple[int, int]) -> Region | None:
        """The box in native frame `number` of a video of `fps` and (width, height) pixels, or None if not covered."""
        index = self._index(number, fps)
        if index is None:
            return None
        width, height = size if self.version == 2 else (size[1] / V1_HEIGHT,) * 2
        x, y, w, h = self.boxes[index]
        return Region(x * width, y * height, (x + w) * width, (y + h) * height)

    def _index(self, number: int, fps: Fraction) -> int | None:
        same_rate = abs(fps - UTTERANCE_FPS) < RATE_PRECISION
        frame = number if same_rate else math.floor(number * UTTERANCE_FPS / fps)
        index = bisect.bisect_left(self.frames, frame)
        return index if index < len(self.frames) and self.frames[index] == frame else None


def speaker(regions: Sequence[Region], annotated: Region) -> Region | None:
    """The one detection that is the annotated person: its middle lies in the annotated box, and it fits best.

    How much must overlap says little: detectors draw boxes of other sizes around the same face.
    """
    inside = [region for region in regions if annotated.holds(*region.centre)]
    return max(inside, key=lambda region: iou(region, annotated), default=None)


def index_utterances(folder: Path) -> dict[str, list[Path]]:
    """The utterance files of each video, by video id, sorted; raises InputError if there are none."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder of utterances. Give DIR of DIR/<person>/<video_id>/*.txt."
        )
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/*/*.txt")):
        found.setdefault(path.parent.name, []).append(path)
    if not found:
        raise InputError(f"{folder}: holds no <person>/<video_id>/*.txt. Give VoxCeleb's txt folder.")
    return found


def read_utterance(path: Path) -> Utterance:
    """Read one file; raises MetadataError naming the line for anything unexpected."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MetadataError(f"{path}: larger than any utterance file. Replace the file.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MetadataError(f"{path}: not a text file ({error}). Replace the file.") from None
    number = 0
    try:
        fields: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            if tuple(line.split()) == HEADER:
                return _utterance(path, fields, lines, number)
            _add_field(fields, line)
        raise ValueError("there is no line FRAME X Y W H")
    except ValueError as error:
        if isinstance(error, MetadataError):
            raise
        raise MetadataError(f"{path}: line {number}: {error}. Replace the file.") from None


def _add_field(fields: dict[str, str], line: str) -> None:
    if not line.strip():
        return
    match = _FIELD.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"{line[:40]!r} is not `name : value`")
    fields[match[1]] = match[2]


def _utterance(path: Path, fields: dict[str, str], lines: list[str], header: int) -> Utterance:
    for name in ("Identity", "Reference"):
        if not fields.get(name):
            raise ValueError(f"no {name} above this line")
    person, video_id = fields["Identity"].replace(".", "_"), fields["Reference"]
    check_id("Identity", person)
    if video_id != path.parent.name:
        raise ValueError(f"Reference is {video_id!r}, but the folder is {path.parent.name!r}")
    rows: dict[int, tuple[float, float, float, float]] = {}
    version: Version | None = None
    for number, line in enumerate(lines[header:], start=header + 1):
        if not line.strip():
            continue
        try:
            frame, box, row_version = _row(line.split())
            if version not in (None, row_version):
                raise ValueError("whole pixels and shares of the frame are mixed")
            if rows and frame <= next(reversed(rows)):
                raise ValueError(f"frame {frame} does not come after frame {next(reversed(rows))}")
        except ValueError as error:
            raise MetadataError(f"{path}: line {number}: {error}. Replace the file.") from None
        version, rows[frame] = row_version, box
    if version is None:
        raise ValueError("no frames follow")
    return Utterance(person, video_id, version, tuple(rows), tuple(rows.values()))


def _row(cells: list[str]) -> tuple[int, tuple[float, float, float, float], Version]:
    if len(cells) != len(HEADER):
        raise ValueError(f"{len(cells)} cells where there should be {' '.join(HEADER)}")
    frame, *numbers = cells
    if not (frame.isascii() and frame.isdecimal() and int(frame[:12]) <= MAX_FRAME and len(frame) <= 12):
        raise ValueError(f"{frame[:20]!r} is not a frame number")
    version: Version
    if all(_WHOLE.fullmatch(cell) for cell in numbers):
        version = 1
    elif all(_SHARE.fullmatch(cell) for cell in numbers):
        version = 2
    else:
        raise ValueError(f"{' '.join(numbers)[:60]!r} are neither whole pixels nor shares of the frame")
    x, y, width, height = (float(cell) for cell in numbers)
    if width <= 0 or height <= 0:
        raise ValueError(f"a box of {numbers[2]} by {numbers[3]} has no area")
    return int(frame), (x, y, width, height), version
