"""Which native frames a clip's span means, and which native pixels its box: exact arithmetic, no I/O."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

# Published rates are decimals cut or rounded to two places (29.97 for 30000/1001, 23.97 for 24000/1001),
# written down for the very frames that the file holds: within a hundredth the frame numbers carry over as
# they are. Different real rates are at least 0.024 apart.
RATE_PRECISION = Fraction(1, 100)


@dataclass(frozen=True)
class Span:
    """Frames [start, end) counted at a nominal rate of `fps` frames a second."""

    start: int
    end: int
    fps: float


@dataclass(frozen=True)
class Box:
    """Pixel columns [left, right) and rows [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns in the box."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows in the box."""
        return self.bottom - self.top


def exact_rate(fps: float | Fraction) -> Fraction:
    """The decimal that a metadata file states, exactly: 29.97 is 2997/100, not the nearest binary number."""
    return fps if isinstance(fps, Fraction) else Fraction(repr(float(fps)))


def native_frames(span: Span, real_fps: float | Fraction) -> range:
    """The frames i of a file at `real_fps` with start * real_fps <= i * span.fps < end * real_fps."""
    real, stated = exact_rate(real_fps), exact_rate(span.fps)
    if abs(real - stated) < RATE_PRECISION:
        return range(span.start, span.end)
    return range(math.ceil(span.start * real / stated), math.ceil(span.end * real / stated))


def spare_frames(span: Span, real_fps: Fraction) -> int:
    """How many native frames may be absent before a clip counts as short: one frame of the metadata's.

    A video re-encoded at another rate ends up to one frame of its former rate earlier, by rounding.
    """
    return max(1, math.ceil(real_fps / exact_rate(span.fps)))


def scale_box(box: Box, reference: tuple[int, int], real: tuple[int, int]) -> Box:
    """Carry a box from a reference (width, height) to the real one, each axis on its own, to whole pixels."""
    (ref_width, ref_height), (width, height) = reference, real
    left, right = _whole_pixels(Fraction(box.left * width, ref_width), Fraction(box.right * width, ref_width))
    top, bottom = _whole_pixels(
        Fraction(box.top * height, ref_height), Fraction(box.bottom * height, ref_height)
    )
    return Box(left, top, right, bottom)


def clip_box(box: Box, size: tuple[int, int]) -> Box | None:
    """The part of a box inside a frame of (width, height); None if there is none."""
    width, height = size
    inside = Box(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))
    return inside if inside.width > 0 and inside.height > 0 else None


def _whole_pixels(low: Fraction, high: Fraction) -> tuple[int, int]:
    """The whole-pixel edges between which a picture stretched to fill them is displaced least (mean square).

    Rounding each edge by itself may move both the same way, and the whole picture with them: 7.5 .. 316.5
    would become 8 .. 317, half a pixel off throughout, where 8 .. 316 is off only near its edges. Of equally
    good edges the inner ones are taken.
    """
    candidates = itertools.product((math.ceil(low), math.floor(low)), (math.floor(high), math.ceil(high)))

    def displacement(edges: tuple[int, int]) -> Fraction:
        # The picture's points move by a blend of the two edges' moves; this is three times its mean square.
        at_low, at_high = edges[0] - low, edges[1] - high
        return at_low**2 + at_low * at_high + at_high**2

    return min(candidates, key=displacement)
