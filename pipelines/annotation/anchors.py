"""The grid of places at which a single-shot detector looks.

The networks' published parameters (strides, offset 0.5, fixed size) leave only centres to compute: every
anchor has the size of the whole input.
"""

# A anchors; 2: x, y
import numpy as np
from numpy.typing import NDArray


def anchor_centres(input_size: int, grids: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """Centres (A,2) of all anchors, in units of the square input.

    `grids` holds (stride in pixels, anchors a cell) of each grid in the network's order. Within a grid, rows
    follow each other from the top, cells from the left, and a cell's anchors share its centre. Raises
    ValueError if a stride does not divide the input.
    """
    centres = []
    for stride, repeats in grids:
        if input_size % stride:
            raise ValueError(f"stride {stride} does not divide an input of {input_size} pixels")
        cells = (np.arange(input_size // stride, dtype=np.float32) + 0.5) * stride / input_size
        y, x = np.meshgrid(cells, cells, indexing="ij")
        centres.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=-1), repeats, axis=0))
    return np.concatenate(centres)
