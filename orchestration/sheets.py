"""Pictures made of pictures: uint8 RGB images side by side on white, with titles that can be read."""

# M directions, D magnitudes, H W height and width in pixels; 3: red, green, blue
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipelines.storage.atomic import atomic_path

Tiles = NDArray[np.uint8]

SMALLEST_TILE, LARGEST_TILE = 160, 256
"""Images are shown at no less than the first (so that 64 px ones can be judged), no more than the second."""
MARGIN, GAP = 16, 6
_FONT_SIZE = 16
_LONGEST_LABEL = 240
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def contact_sheet(
    rows: Sequence[Sequence[Tiles]], *, columns: Sequence[str], labels: Sequence[str] = ()
) -> Image.Image:
    """Rows of (H,W,3) images, all of one size, under column titles and, where given, beside row labels.

    Raises ValueError where the images do not make a full table.
    """
    _check_table(rows, columns, labels)
    height, width = shown_size(*rows[0][0].shape[:2])
    font = ImageFont.load_default(_FONT_SIZE)
    labels = [_shortened(label, font) for label in labels]
    column_width = max([width, *(_text_width(title, font) for title in columns)])
    left = MARGIN + max((_text_width(label, font) + 2 * GAP for label in labels), default=0)
    top = MARGIN + _FONT_SIZE + 2 * GAP
    sheet = Image.new(
        "RGB",
        (
            left + len(columns) * (column_width + GAP) - GAP + MARGIN,
            top + len(rows) * (height + GAP) - GAP + MARGIN,
        ),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    middles = [left + number * (column_width + GAP) + column_width // 2 for number in range(len(columns))]
    for title, middle in zip(columns, middles, strict=True):
        draw.text((middle, top - 2 * GAP), title, _INK, font, anchor="ms")
    for number, row in enumerate(rows):
        y = top + number * (height + GAP)
        for image, middle in zip(row, middles, strict=True):
            sheet.paste(_shown(image, height, width), (middle - width // 2, y))
        if labels:
            draw.text((left - 2 * GAP, y + height // 2), labels[number], _INK, font, anchor="rm")
    return sheet


def captioned_grid(images: Sequence[Tiles], captions: Sequence[str], *, columns: int) -> Image.Image:
    """Images (H,W,3) of one size in rows of `columns`, each above its caption, which may have several lines.

    Raises ValueError where there are no images, or not as many captions.
    """
    if not images or len(images) != len(captions):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    font = ImageFont.load_default(_FONT_SIZE)
    height, width = shown_size(*images[0].shape[:2])
    texts = [[_shortened(line, font) for line in caption.splitlines()] for caption in captions]
    cell_width = max([width, *(_text_width(line, font) for text in texts for line in text)]) + GAP
    cell_height = height + GAP + max(map(len, texts)) * (_FONT_SIZE + GAP) + 2 * GAP
    rows = -(-len(images) // columns)
    size = (min(columns, len(images)) * cell_width, rows * cell_height)
    sheet = Image.new("RGB", (size[0] + 2 * MARGIN - GAP, size[1] + 2 * MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        row, column = divmod(number, columns)
        x, y = MARGIN + column * cell_width, MARGIN + row * cell_height
        middle = x + (cell_width - GAP) // 2
        sheet.paste(_shown(image, height, width), (middle - width // 2, y))
        for line_number, line in enumerate(text):
            baseline = y + height + (line_number + 1) * (_FONT_SIZE + GAP)
            draw.text((middle, baseline), line, _INK, font, anchor="ms")
    return sheet


def direction_sheet(images_MDHW3: Tiles, magnitudes: Sequence[float]) -> Image.Image:
    """One row a motion direction, numbered from 1; one column a magnitude, which stands above it."""
    return contact_sheet(
        [list(row) for row in images_MDHW3],
        columns=[f"{magnitude:+.3g}" if magnitude else "0" for magnitude in magnitudes],
        labels=[f"direction {number}" for number in range(1, len(images_MDHW3) + 1)],
    )


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG; the file appears whole or not at all."""
    with atomic_path(path) as partial:
        sheet.save(partial, format="PNG", optimize=True)


def shown_size(height: int, width: int) -> tuple[int, int]:
    """The (height, width) to show an image at: a whole multiple of a small one, a large one scaled down."""
    longest = max(height, width)
    if longest <= SMALLEST_TILE:
        factor = -(-SMALLEST_TILE // longest)
        return height * factor, width * factor
    scale = min(1.0, LARGEST_TILE / longest)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _check_table(rows: Sequence[Sequence[Tiles]], columns: Sequence[str], labels: Sequence[str]) -> None:
    if not rows or not columns:
        raise ValueError(f"a sheet needs images, got {len(rows)} rows and {len(columns)} columns")
    if labels and len(labels) != len(rows):
        raise ValueError(f"{len(labels)} labels for {len(rows)} rows")
    shape = rows[0][0].shape if rows[0] else ()
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(f"row {number} has {len(row)} images for {len(columns)} columns")
        for image in row:
            if image.dtype != np.uint8 or image.shape != shape or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(
                    f"row {number} holds {image.dtype}{image.shape}; all images must be uint8 (H,W,3) of one size"
                )


def _shown(image_HW3: Tiles, height: int, width: int) -> Image.Image:
    return Image.fromarray(image_HW3).resize((width, height), Image.Resampling.LANCZOS)


def _text_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return int(np.ceil(font.getlength(text)))


def _shortened(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The label, or as much of its beginning as fits beside the images."""
    if _text_width(label, font) <= _LONGEST_LABEL:
        return label
    while label and _text_width(label + "...", font) > _LONGEST_LABEL:
        label = label[:-1]
    return label + "..."
