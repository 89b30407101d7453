"""A still image and a driving video in, a video of the image moving out."""
# H, W height and width in pixels; S side of the model's square

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from lia_model.animation import Mode, animate
from lia_model.generator import Generator
from lia_model.pixels import to_float, to_uint8
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
    progress: bool = False,
) -> int:
    """Write `out`, an mp4 at the driving video's frame rate and with its sound; returns its number of frames.

    Both inputs are brought to the model's square size as `fit` says. Raises VideoError for bad input.
    """
    image = read_image(source, generator.config.image_size, fit)
    frames = animated_frames(generator, image, driving, mode=mode, fit=fit)
    return write_animation(out, frames, driving, progress)


def write_animation(out: Path, frames: Iterable[RgbImage], driving: Path, progress: bool = False) -> int:
    """Write frames (H,W,3) at the driving video's frame rate and with its sound; returns how many there were."""
    info = read_info(driving)
    bar = tqdm(frames, total=info.n_frames, desc="animate", unit="frame", disable=not progress)
    with bar as shown:
        return write_video(out, shown, info.fps, audio_from=driving if info.has_audio else None)


def animated_frames(
    generator: Generator, source_SS3: RgbImage, driving: VideoSource, *, mode: Mode, fit: Fit
) -> Iterator[RgbImage]:
    """The animation by a whole video, brought to the model's square as `fit` says; see `animated_squares`."""
    frames = decode_frames(driving, generator.config.image_size, fit)
    return animated_squares(generator, source_SS3, frames, mode)


def animated_squares(
    generator: Generator, source_SS3: RgbImage, driving: Iterable[RgbImage], mode: Mode
) -> Iterator[RgbImage]:
    """The animation frame by frame as uint8 (S,S,3), S the model's size; holds one batch of frames at a time."""
    device = next(generator.parameters()).device
    tensors = (to_float(torch.from_numpy(frame)).to(device) for frame in driving)
    source = to_float(torch.from_numpy(source_SS3)[None]).to(device)
    for image in animate(generator, source, tensors, mode, BATCH):
        yield to_uint8(image)
