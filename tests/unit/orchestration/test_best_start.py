"""Relative movement counted from the driving frame that is most like the source; faces are told by brightness here."""

from pathlib import Path

import numpy as np
import pytest

from orchestration.best_start import best_start
from orchestration.evaluation.faces import Face
from pipelines.errors import InputError

SOURCE, DRIVING = Path("face.png"), Path("talk.mp4")


def frame(level: int) -> np.ndarray:
    return np.full((8, 8, 3), level, np.uint8)


def look(frame_HW3) -> Face | None:
    """A face whose shape, not only size and place, depends on the brightness; none in a black frame."""
    level = int(frame_HW3.flat[0])
    if level == 0:
        return None
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return Face(np.stack([np.cos(angle) * (1 + level / 100), np.sin(angle)], axis=1))


def test_the_frame_nearest_in_shape_is_taken_and_frames_are_not_kept():
    runs = []

    def frames():
        runs.append(0)
        for level in (0, 200, 90, 0, 60):
            runs[-1] += 1
            yield frame(level)

    start = best_start(frame(100), frames, look, source=SOURCE, driving=DRIVING)
    assert int(start.flat[0]) == 90
    assert runs == [5, 3]


def test_where_there_is_no_face_the_file_is_named():
    with pytest.raises(InputError, match=r"face\.png: no face was found.*--start first"):
        best_start(frame(0), lambda: [frame(100)], look, source=SOURCE, driving=DRIVING)
    with pytest.raises(InputError, match=r"talk\.mp4: .*no face"):
        best_start(frame(100), lambda: [frame(0)], look, source=SOURCE, driving=DRIVING)
