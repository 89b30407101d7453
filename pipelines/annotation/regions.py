"""Boxes with edges anywhere: overlap, union, interpolation. Pure arithmetic."""

from dataclasses import dataclass

from pipelines.annotation.detections import Detection


@dataclass(frozen=True, order=True)
class Region:
    """A box in pixels of the video; edges may lie between pixels and outside the frame."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels down."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Square pixels; 0 for a box turned inside out."""
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def centre(self) -> tuple[float, float]:
        """x and y."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies inside."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom


def region_of(detection: Detection, scale_x: float = 1.0, scale_y: float = 1.0) -> Region:
    """A detection's box, carried over from the frame that the detector saw to the video's."""
    return Region(
        detection.left * scale_x,
        detection.top * scale_y,
        detection.right * scale_x,
        detection.bottom * scale_y,
    )


def iou(a: Region, b: Region) -> float:
    """Intersection over union, from 0 to 1."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    shared = max(width, 0.0) * max(height, 0.0)
    total = a.area + b.area - shared
    return shared / total if total > 0 else 0.0


def union(a: Region, b: Region) -> Region:
    """The smallest box that holds both."""
    return Region(min(a.left, b.left), min(a.top, b.top), max(a.right, b.right), max(a.bottom, b.bottom))


def between(a: Region, b: Region, share: float) -> Region:
    """The box on the straight way from `a` (share 0) to `b` (share 1)."""
    return Region(
        *(
            start + share * (end - start)
            for start, end in ((a.left, b.left), (a.top, b.top), (a.right, b.right), (a.bottom, b.bottom))
        )
    )
