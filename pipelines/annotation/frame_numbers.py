"""Which number a decoded frame has: the one by which `prepare` will find it again."""

import math
from fractions import Fraction

from pipelines.corpus.clip_table import MAX_NUMBER
from pipelines.errors import VideoError
from pipelines.media.probe import VideoInfo


class FrameNumbers:
    """Numbers frames by the time at which they are shown, at the video's rate, from 0.

    Frames that a recorder dropped leave gaps. Where the rate varies several frames may fall on one number.
    """

    def __init__(self, info: VideoInfo, name: str) -> None:
        self._info = info
        self._name = name
        self.last = -1
        """The number given last."""

    def next(self, time_s: Fraction | None) -> int | None:
        """The next frame's number, or None if the frame before has it already (or a later one).

        `time_s` is in seconds of the container's time; a frame without one follows the frame before.
        Raises VideoError "unreadable" for times that no video has.
        """
        number = self.last + 1
        if time_s is not None:
            number = math.floor((time_s - self._info.start_s) * self._info.fps + Fraction(1, 2))
        if number > MAX_NUMBER:
            raise VideoError(
                "unreadable",
                f"{self._name}: a frame is said to be shown at {float(time_s or 0):g} s. Re-encode it.",
            )
        if number <= self.last:
            return None
        self.last = number
        return number
