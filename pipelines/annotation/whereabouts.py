"""Where in a picture, or all through a video, the one person is whom it shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from statistics import median

from pipelines.annotation.detections import Detector
from pipelines.annotation.regions import Region, iou, region_of, union
from pipelines.media.images import RgbImage
from pipelines.media.video import TimedFrame


@dataclass(frozen=True)
class Whereabouts:
    """Of one person in a video."""

    region: Region
    """All the person's boxes together, in pixels of the video."""
    extent: float
    """The longer side of the person's box in pixels: the median over the video."""
    size: tuple[int, int]
    """Width and height of the video in pixels."""


def find_in_picture(image_HW3: RgbImage, detect: Detector) -> Region | None:
    """The box of the largest person in a picture; None where nobody is found."""
    return max(map(region_of, detect(image_HW3[None])[0]), key=_area, default=None)


def find_in_video(frames: Iterable[TimedFrame], detect: Detector) -> Whereabouts | None:
    """Follow the largest person of the first frame that shows any; None where nobody is found.

    In each later frame the person is whoever overlaps the last box most; frames in which nobody does are passed over.
    """
    followed: list[Region] = []
    size = (0, 0)
    for frame in frames:
        size = frame.size
        regions = _regions(frame, detect)
        if followed:
            overlaps = [(iou(followed[-1], region), region) for region in regions]
            overlap, found = max(overlaps, default=(0.0, None))
            found = found if overlap > 0 else None
        else:
            found = max(regions, key=_area, default=None)
        if found:
            followed.append(found)
    if not followed:
        return None
    extent = median(max(region.width, region.height) for region in followed)
    return Whereabouts(reduce(union, followed), extent, size)


def _regions(frame: TimedFrame, detect: Detector) -> list[Region]:
    """Everybody in a frame, in pixels of the video."""
    height, width = frame.image.shape[:2]
    scale = frame.size[0] / width, frame.size[1] / height
    return [region_of(found, *scale) for found in detect(frame.image[None])[0]]


def _area(region: Region) -> float:
    return region.width * region.height
