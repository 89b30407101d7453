"""A still image moved along each motion direction of a model: one sheet of all, one looping video of each."""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from tqdm import tqdm

from lia_model.animation import walk_directions
from lia_model.generator import Generator
from lia_model.pixels import to_float, to_uint8
from orchestration.samples import WALK, walk_sheet
from orchestration.sheets import save_sheet
from pipelines.media.images import Fit, RgbImage, read_image
from pipelines.media.video import write_video

SHEET = "directions.png"
FRAMES, FPS = 60, Fraction(25)


def manipulate_file(
    generator: Generator,
    source: Path,
    out: Path,
    *,
    reach: float = max(WALK),
    fit: Fit = "crop",
    progress: bool = False,
) -> int:
    """Write `out`/directions.png and `out`/direction-01.mp4 and so on; returns the number of directions.

    `reach` is the largest magnitude added to the image's own, to either side. The sheet has a row a direction; a video
    goes to one side, to the other and back. Raises VideoError if the image cannot be read, ValueError for a reach that
    is not above zero.
    """
    if not (math.isfinite(reach) and reach > 0):
        raise ValueError(f"reach must be a finite number above 0, got {reach}")
    image = read_image(source, generator.config.image_size, fit)
    out.mkdir(exist_ok=True)
    save_sheet(walk_sheet(generator, image, [reach * d / max(WALK) for d in WALK]), out / SHEET)
    count = generator.config.motion_dim
    walks = _walks(generator, image, there_and_back(reach, FRAMES))
    for number, frames in enumerate(
        tqdm(walks, total=count, desc="manipulate", disable=not progress), start=1
    ):
        write_video(out / f"direction-{number:0{len(str(count))}d}.mp4", frames, FPS)
    return count


def there_and_back(reach: float, frames: int) -> list[float]:
    """Magnitudes of a loop: from 0 to `reach`, to -`reach`, and as far towards 0 as joins with the first."""
    return [reach * math.sin(2 * math.pi * frame / frames) for frame in range(frames)]


def _walks(
    generator: Generator, image_HW3: RgbImage, magnitudes: Sequence[float]
) -> Iterator[list[RgbImage]]:
    device = next(generator.parameters()).device
    source = to_float(torch.from_numpy(image_HW3)[None]).to(device)
    for images_D3HW in walk_directions(generator, source, magnitudes):
        yield list(to_uint8(images_D3HW))
