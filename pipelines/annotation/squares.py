"""The square that is cut around a box: widened, of whole pixels, and inside the frame or none at all."""

import math

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.regions import Region
from pipelines.corpus.spans import Box


def crop_square(union: Region, frame: tuple[int, int], config: AnnotateConfig) -> Box | None:
    """The square around a track's boxes in a frame of (width, height); None if it does not fit.

    Its sides are even numbers: video stores colour for two by two pixels, and an odd box takes `prepare` longer.
    """
    side = 2 * round(config.widen * max(union.width, union.height) / 2)
    if not 0 < side <= min(frame):
        return None
    edges = [_edge(middle, side) for middle in union.centre]
    inside = [min(max(edge, 0), (length - side) // 2 * 2) for edge, length in zip(edges, frame, strict=True)]
    if config.out_of_frame == "reject" and inside != edges:
        return None
    left, top = inside
    return Box(left, top, left + side, top + side)


def nearest_square(region: Region, frame: tuple[int, int], widen: float) -> Box:
    """The square around a box in a frame of (width, height), moved inside and no larger than fits.

    For pictures that must be used as they are. Its side is `widen` times the box's longer one, in whole pixels.
    """
    side = min(max(1, round(widen * max(region.width, region.height))), *frame)
    left, top = (
        min(max(round(middle - side / 2), 0), length - side)
        for middle, length in zip(region.centre, frame, strict=True)
    )
    return Box(left, top, left + side, top + side)


def _edge(middle: float, side: int) -> int:
    """The even number nearest to where a stretch of `side` around `middle` begins."""
    return 2 * math.floor((middle - side / 2) / 2 + 0.5)
