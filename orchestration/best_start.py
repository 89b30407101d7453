"""The driving frame from which relative animation counts movement, where it is not the first but the best.

Relative animation adds the movement since a driving frame to the source's own pose. It is right where both poses are
alike; so FOMM chooses the frame ("find best frame"), and animates backward and forward from it.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from orchestration.assets.cache import cache_paths
from orchestration.evaluation.faces import Face, FaceObserver, best_frame
from pipelines.annotation.weights import FACE_LANDMARKS
from pipelines.errors import InputError
from pipelines.media.images import RgbImage

Look = Callable[[RgbImage], Face | None]
"""What finds the face in a frame."""


def face_look() -> Look:
    """By the landmarks of the face metrics. Raises InputError if their weights or library are absent."""
    return FaceObserver(cache_paths([FACE_LANDMARKS.name]), identity=False)


def best_start(
    source_SS3: RgbImage, frames: Callable[[], Iterable[RgbImage]], look: Look, *, source: Path, driving: Path
) -> RgbImage:
    """The driving frame whose landmarks, apart from place and size, are nearest the source's; `frames` is run through
    twice, one frame at a time. Raises InputError with the file's name if it shows no face."""
    face = look(source_SS3)
    if face is None:
        raise InputError(
            f"{source}: no face was found to choose the driving frame by: --start first needs none"
        )
    faces = [look(frame) for frame in frames()]
    try:
        number = best_frame(face, faces)
    except InputError as error:
        raise InputError(f"{driving}: {error}") from None
    return next(iter(islice(frames(), number, None)))
