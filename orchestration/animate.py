"""A still image and a driving video in, a video of the image moving out."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
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
    size = generator.config.image_size
    image = read_image(source, size, fit)
    info = read_info(driving)
    frames = animated_frames(generator, image, driving, mode=mode, fit=fit)
    bar = tqdm(frames, total=info.n_frames, desc="animate", unit="frame", disable=not progress)
    with bar as shown:
        return write_video(out, shown, info.fps, audio_from=driving if info.has_audio else None)


def animated_frames(
    generator: Generator, source_HW3: RgbImage, driving: VideoSource, *, mode: Mode, fit: Fit
) -> Iterator[RgbImage]:
    """The animation frame by frame as uint8 (H,W,3); holds one batch of frames at a time."""
    device = next(generator.parameters()).device

    def as_tensors() -> Iterator[Tensor]:
        for frame in decode_frames(driving, generator.config.image_size, fit):
            yield to_float(torch.from_numpy(frame)).to(device)

    source = to_float(torch.from_numpy(source_HW3)[None]).to(device)
    for image in animate(generator, source, as_tensors(), mode, BATCH):
        yield to_uint8(image)
