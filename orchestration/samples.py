"""Pictures that show what a generator has learned: reconstructions, reference images and motion directions."""

# T frames, M directions, D magnitudes
from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image

from lia_model.animation import walk_directions
from lia_model.generator import Generator
from lia_model.pixels import to_float, to_uint8
from orchestration.sheets import contact_sheet, direction_sheet
from pipelines.dataset.clip_index import count_clips
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.source import DatasetSource
from pipelines.media.images import RgbImage
from pipelines.storage.location import Location

COLUMNS = ("source", "driving", "reconstruction", "reference image")
ROWS = 6
WALK = tuple(float(d) for d in np.linspace(-3, 3, 7))


def sample_sheet(generator: Generator, dataset: Location | DatasetSource, *, rows: int = ROWS) -> Image:
    """Held-out pairs (training pairs where no clip is held out), one a row: see COLUMNS."""
    partition = "test" if count_clips(dataset)["test"] else "train"
    return pair_sheet(generator, _spread_pairs(PairDataset(dataset, partition), rows))


def pair_sheet(generator: Generator, pairs: Sequence[tuple[str, RgbImage, RgbImage]]) -> Image:
    """One row a (label, source, driving): the two, the reconstruction, and the source's reference image."""
    device = next(generator.parameters()).device
    source = to_float(torch.from_numpy(np.stack([pair[1] for pair in pairs]))).to(device)
    driving = to_float(torch.from_numpy(np.stack([pair[2] for pair in pairs]))).to(device)
    with torch.no_grad():
        columns = (source, driving, generator(source, driving), generator(source))
    pictures = [to_uint8(column) for column in columns]
    rows = [[column[row] for column in pictures] for row in range(len(pairs))]
    return contact_sheet(rows, columns=COLUMNS, labels=[pair[0] for pair in pairs])


def walk_sheet(generator: Generator, source_HW3: RgbImage, magnitudes: Sequence[float] = WALK) -> Image:
    """The source moved along each motion direction in turn: one row a direction."""
    device = next(generator.parameters()).device
    source = to_float(torch.from_numpy(source_HW3)[None]).to(device)
    rows = [to_uint8(images) for images in walk_directions(generator, source, magnitudes)]
    return direction_sheet(np.stack(rows), magnitudes)


def _spread_pairs(dataset: PairDataset, rows: int) -> list[tuple[str, RgbImage, RgbImage]]:
    """Pairs from evenly spread clips: the first frame, and one from further and further into the clip."""
    pairs = []
    for row in range(rows):
        clip = row * len(dataset) // rows
        n_frames = int(dataset.n_frames[clip])
        frame = (row + 1) * (n_frames - 1) // rows
        source, driving = dataset.frames(clip, (0, frame))
        pairs.append((f"clip {clip}, frame {frame}", source, driving))
    return pairs
