"""A still image and a driving video in, a video of the image moving out."""
# H, W height and width in pixels; S side of the model's square

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from lia_model.animation import Mode, animate
from lia_model.generator import Generator
from lia_model.pixels import to_float, to_uint8
from orchestration.best_start import Look, best_start
from pipelines.media.images import Fit, RgbImage, read_image
from pipelines.media.video import VideoSource, decode_frames, read_info, write_video

BATCH = 16


def animate_file(
    generator: Generator,
    source: Path,
    driving: Path,
    out: Path,
    *,
    mode: Mode = "absolute",
    fit: Fit = "crop",
    look: Look | None = None,
    progress: bool = False,
) -> int:
    """Write `out`, an mp4 at the driving video's frame rate and with its sound; returns its number of frames.

    Both inputs are brought to the model's square size as `fit` says. With `look`, relative movement is counted from
    the driving frame most like the source. Raises VideoError for bad input.
    """
    size = generator.config.image_size
    image = read_image(source, size, fit)

    def squares() -> Iterator[RgbImage]:
        return decode_frames(driving, size, fit)

    return write_animation(
        generator,
        image,
        squares,
        out,
        source=source,
        driving=driving,
        mode=mode,
        look=look,
        progress=progress,
    )


def write_animation(
    generator: Generator,
    source_SS3: RgbImage,
    squares: Callable[[], Iterable[RgbImage]],
    out: Path,
    *,
    source: Path,
    driving: Path,
    mode: Mode,
    look: Look | None = None,
    place: Callable[[RgbImage], RgbImage] | None = None,
    progress: bool = False,
) -> int:
    """Animate `source_SS3`, out of the file `source`, by `squares`, out of `driving`; returns the number of frames.

    Each call of `squares` begins the driving frames (S,S,3) anew. `place` makes of an animated square the frame that is
    written, at the driving video's frame rate and with its sound. `look` is as in `animate_file`.
    """
    start = best_start(source_SS3, squares, look, source=source, driving=driving) if look else None
    animated = animated_squares(generator, source_SS3, squares(), mode, start)
    info = read_info(driving)
    bar = tqdm(animated, total=info.n_frames, desc="animate", unit="frame", disable=not progress)
    with bar as shown:
        frames = map(place, shown) if place else shown
        return write_video(out, frames, info.fps, audio_from=driving if info.has_audio else None)


def animated_frames(
    generator: Generator, source_SS3: RgbImage, driving: VideoSource, *, mode: Mode, fit: Fit
) -> Iterator[RgbImage]:
    """The animation by a whole video, brought to the model's square as `fit` says; see `animated_squares`."""
    frames = decode_frames(driving, generator.config.image_size, fit)
    return animated_squares(generator, source_SS3, frames, mode)


def animated_squares(
    generator: Generator,
    source_SS3: RgbImage,
    driving: Iterable[RgbImage],
    mode: Mode,
    start_SS3: RgbImage | None = None,
) -> Iterator[RgbImage]:
    """The animation frame by frame as uint8 (S,S,3), S the model's size; holds one batch of frames at a time.

    Relative movement is that since `start`, or since the first frame.
    """
    device = next(generator.parameters()).device

    def as_tensor(frame_SS3: RgbImage) -> Tensor:
        return to_float(torch.from_numpy(frame_SS3)).to(device)

    start = None if start_SS3 is None else as_tensor(start_SS3)
    frames = map(as_tensor, driving)
    for image in animate(generator, as_tensor(source_SS3)[None], frames, mode, BATCH, start_3HW=start):
        yield to_uint8(image)
