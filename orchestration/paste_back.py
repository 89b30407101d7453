"""A face or body animated where it is in a larger picture: cut out as a square, animated, and pasted back.

The driving square is found as for training data (`pipelines.annotation`): 1.2 times the box around all the places where
the face is. The source's square shows its face as large as the driving square does: a model is trained on pairs out of
one square, and has seen no faces of two sizes.
"""
# H, W height and width of a picture; S side of the model's square; Q side of a square in the picture

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from lia_model.animation import Mode
from lia_model.generator import Generator
from orchestration.animate import write_animation
from orchestration.best_start import Look
from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.detections import Detector
from pipelines.annotation.regions import Region
from pipelines.annotation.squares import nearest_square
from pipelines.annotation.whereabouts import find_in_picture, find_in_video
from pipelines.corpus.spans import Box, clip_box
from pipelines.errors import InputError
from pipelines.media.images import Fit, RgbImage, read_image
from pipelines.media.video import decode_frames, decode_timed, read_info

FEATHER = 0.1
"""Width of the seam in which the animated part fades into the picture, in sides of the square."""
MAX_SIDE = 16384
"""Pixels; wider or higher videos are more than an H.264 encoder takes."""
_CROPPING = AnnotateConfig()


@dataclass(frozen=True, kw_only=True)
class Squares:
    """What is cut out."""

    source: Box
    """Of the source picture; the animation is pasted back here."""
    driving: Box | None
    """Of each driving frame; None: all of it, made square as `fit` says."""


def detected_squares(
    source: Path, driving: Path, detect: Detector, *, kind: str, progress: bool = False
) -> Squares:
    """The squares around what `detect` finds, which is a `kind` ("face", "body").

    Raises InputError where it finds nothing, VideoError for inputs that cannot be read.
    """
    picture = read_image(source)
    person = find_in_picture(picture, detect)
    if person is None:
        raise InputError(
            f"{source}: no {kind} found in it. Name the part to animate with --box LEFT,TOP,RIGHT,BOTTOM."
        )
    bar = tqdm(
        decode_timed(driving, _CROPPING.frame_px),
        total=read_info(driving).n_frames, desc=f"find the {kind}", unit="frame", disable=not progress,
    )  # fmt: skip
    with bar as frames:
        driver = find_in_video(frames, detect)
    if driver is None:
        raise InputError(
            f"{driving}: no {kind} found in it. Name the parts to use with --box and --driving-box."
        )
    square = nearest_square(driver.region, driver.size, _CROPPING.widen)
    return Squares(
        source=nearest_square(person, _size(picture), widen=square.width / driver.extent), driving=square
    )


def named_squares(source: Path, driving: Path, box: Box, driving_box: Box | None = None) -> Squares:
    """The squares around boxes that the user names; raises InputError for a box that leaves its picture."""
    of_driving = None
    if driving_box is not None:
        of_driving = _square_around(driving_box, next(decode_frames(driving, limit=1)), driving)
    return Squares(source=_square_around(box, read_image(source), source), driving=of_driving)


def animate_in_place(
    generator: Generator,
    source: Path,
    driving: Path,
    out: Path,
    squares: Squares,
    *,
    mode: Mode = "absolute",
    fit: Fit = "crop",
    look: Look | None = None,
    progress: bool = False,
) -> int:
    """Write `out`, an mp4 of the source's size in which only its square moves; returns its number of frames.

    Odd widths and heights are made even, as `write_video` does. `fit` is for driving frames without a square,
    `look` as in `animate_file`. Raises VideoError for bad input.
    """
    picture = read_image(source)
    if max(picture.shape) > MAX_SIDE:
        width, height = _size(picture)
        raise InputError(f"{source}: {width}x{height} pixels are too many for a video. Scale it down first.")
    size = generator.config.image_size
    part = cut(picture, squares.source, size)

    def frames() -> Iterator[RgbImage]:
        if (square := squares.driving) is None:
            return decode_frames(driving, size, fit)
        return (cut(frame, square, size) for frame in decode_frames(driving))

    shown_QQ1 = feather(squares.source, _size(picture))
    return write_animation(
        *(generator, part, frames, out),
        source=source, driving=driving, mode=mode, look=look,
        place=lambda part_SS3: paste(picture, squares.source, part_SS3, shown_QQ1), progress=progress,
    )  # fmt: skip


def cut(picture_HW3: RgbImage, square: Box, size: int) -> RgbImage:
    """A square of the picture, scaled: uint8 (size,size,3)."""
    return _scaled(picture_HW3[square.top : square.bottom, square.left : square.right], size)


def feather(square: Box, picture: tuple[int, int]) -> NDArray[np.float32]:
    """How much of what is pasted shows, (Q,Q,1): all in the middle, ever less towards the square's edges.

    An edge that is also one of the picture's (width, height) needs no seam.
    """
    side = square.width
    distance_Q = (np.arange(side, dtype=np.float32) + 0.5) / (FEATHER * side)
    ramp_Q = 0.5 - 0.5 * np.cos(np.pi * distance_Q.clip(0, 1))
    plain_Q = np.ones_like(ramp_Q)
    width, height = picture
    across_Q, down_Q = (
        (ramp_Q if low > 0 else plain_Q) * (ramp_Q[::-1] if high < length else plain_Q)
        for low, high, length in ((square.left, square.right, width), (square.top, square.bottom, height))
    )
    return (down_Q[:, None] * across_Q)[..., None].astype(np.float32)


def paste(picture_HW3: RgbImage, square: Box, part_SS3: RgbImage, shown_QQ1: NDArray[np.float32]) -> RgbImage:
    """The picture with `part` over its square, as much of it as `shown` (see `feather`) says: uint8 (H,W,3)."""
    whole_HW3 = picture_HW3.copy()
    place_QQ3 = whole_HW3[square.top : square.bottom, square.left : square.right]
    part_QQ3 = _scaled(part_SS3, square.width).astype(np.float32)
    place_QQ3[:] = np.rint(place_QQ3 + shown_QQ1 * (part_QQ3 - place_QQ3))
    return whole_HW3


def _scaled(image_HW3: RgbImage, side: int) -> RgbImage:
    image = Image.fromarray(np.ascontiguousarray(image_HW3))
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC))


def _size(picture_HW3: RgbImage) -> tuple[int, int]:
    """Width and height."""
    return picture_HW3.shape[1], picture_HW3.shape[0]


def _square_around(box: Box, picture_HW3: RgbImage, path: Path) -> Box:
    width, height = _size(picture_HW3)
    if clip_box(box, (width, height)) != box:
        raise InputError(
            f"{path}: the box {shown(box)} is not inside its {width}x{height} pixels. Name one that is."
        )
    return nearest_square(Region(box.left, box.top, box.right, box.bottom), (width, height), widen=1)


def shown(box: Box) -> str:
    """A box as the command line takes it."""
    return f"{box.left},{box.top},{box.right},{box.bottom}"
