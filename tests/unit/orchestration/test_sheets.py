"""Sheets of pictures: what lands where."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from orchestration.sheets import (
    GAP,
    LARGEST_TILE,
    MARGIN,
    SMALLEST_TILE,
    captioned_grid,
    contact_sheet,
    direction_sheet,
    save_sheet,
    shown_size,
)

COLOURS = [[(200, 30, 30), (30, 200, 30), (30, 30, 200)], [(90, 90, 10), (10, 90, 90), (90, 10, 90)]]


def flat(colour: tuple[int, int, int], side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def table(side: int = 64) -> list[list[np.ndarray]]:
    return [[flat(colour, side) for colour in row] for row in COLOURS]


def box_of(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of the pixels of one colour."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1


def has_ink(sheet: Image.Image, left: int, top: int, right: int, bottom: int) -> bool:
    return bool((np.asarray(sheet)[top:bottom, left:right] < 100).all(axis=2).any())


@pytest.mark.parametrize(
    ("side", "shown"), [(32, 160), (64, 192), (128, 256), (160, 160), (200, 200), (256, 256), (1024, 256)]
)
def test_every_image_is_shown_whole_and_in_its_place(side, shown):
    sheet = contact_sheet(table(side), columns=("a", "b", "c"), labels=("first", "second"))
    boxes = [[box_of(sheet, colour) for colour in row] for row in COLOURS]
    assert {box[2:] for row in boxes for box in row} == {(shown, shown)}
    for row in boxes:
        assert len({top for _, top, *_ in row}) == 1
        assert [row[i + 1][0] - row[i][0] for i in (0, 1)] == [shown + GAP] * 2
    assert boxes[1][0][1] - boxes[0][0][1] == shown + GAP
    right, bottom = boxes[1][2][0] + shown, boxes[1][2][1] + shown
    assert sheet.size == (right + MARGIN, bottom + MARGIN)
    assert sheet.getpixel((right + 1, bottom + 1)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("count", "columns", "places"),
    [
        pytest.param(1, 3, [(0, 0)], id="one"),
        pytest.param(3, 3, [(0, 0), (0, 1), (0, 2)], id="a-full-row"),
        pytest.param(5, 2, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)], id="a-row-begun"),
    ],
)
def test_a_grid_has_every_image_in_its_place_above_its_caption(count, columns, places):
    colours = [colour for row in COLOURS for colour in row][:count]
    sheet = captioned_grid([flat(colour) for colour in colours], ["ab\ncd"] * count, columns=columns)
    boxes = [box_of(sheet, colour) for colour in colours]
    assert {box[2:] for box in boxes} == {(192, 192)}
    lefts, tops = sorted({left for left, *_ in boxes}), sorted({top for _, top, *_ in boxes})
    assert [(tops.index(top), lefts.index(left)) for left, top, *_ in boxes] == places
    assert (lefts[0], tops[0]) == (MARGIN, MARGIN)
    assert all(right - left == 192 + GAP for left, right in pairwise(lefts))
    for left, top, width, height in boxes:
        below = top + height
        assert has_ink(sheet, left, below, left + width, below + 25)
        assert has_ink(sheet, left, below + 25, left + width, below + 48)
        assert not has_ink(sheet, left, below + 50, left + width, below + 56)
    assert sheet.width == lefts[-1] + 192 + MARGIN


def test_a_grid_makes_room_for_its_longest_caption():
    images = [flat(colour) for colour in COLOURS[0]]
    sheet = captioned_grid(images, ["a" * 500, "b\nb\nb", ""], columns=2)
    lefts = [box_of(sheet, colour)[0] for colour in COLOURS[0]]
    assert 192 + GAP < lefts[1] - lefts[0] < 192 + 60
    tops = [box_of(sheet, colour)[1] for colour in COLOURS[0]]
    assert tops[2] - tops[0] > 192 + 3 * 16
    assert not has_ink(sheet, 0, tops[2] + 192, sheet.width, sheet.height)


@pytest.mark.parametrize(("images", "captions"), [(0, []), (2, ["one"]), (1, ["one", "two"])])
def test_a_grid_needs_a_caption_for_each_image(images, captions):
    with pytest.raises(ValueError, match=f"{len(captions)} captions for {images} images"):
        captioned_grid([flat((0, 0, 0))] * images, captions, columns=2)


def test_images_keep_their_shape():
    assert shown_size(64, 32) == (192, 96)
    assert shown_size(2048, 1024) == (LARGEST_TILE, LARGEST_TILE // 2)
    assert min(shown_size(1, 1)) >= SMALLEST_TILE


def test_titles_and_labels_are_written():
    sheet = contact_sheet(table(), columns=("source", "driving", "x" * 40), labels=("one", "n" * 80))
    left, top, width, height = box_of(sheet, COLOURS[0][0])
    assert has_ink(sheet, left, 0, left + width, top)
    assert has_ink(sheet, 0, top, left, top + height)
    assert not has_ink(sheet, 0, 0, left, top)
    # A label of any length leaves the images where they are; a long title makes its column wider.
    assert left < 400
    assert box_of(sheet, COLOURS[0][2])[0] - box_of(sheet, COLOURS[0][1])[0] > width + GAP


def test_labels_may_be_left_out():
    sheet = contact_sheet(table(), columns=("a", "b", "c"))
    assert box_of(sheet, COLOURS[0][0])[0] == MARGIN


def test_directions_are_rows_and_magnitudes_columns():
    images_MDHW3 = np.array(table())
    sheet = direction_sheet(images_MDHW3, (-3.0, 0.0, 1.5))
    titled = contact_sheet(table(), columns=("-3", "0", "+1.5"), labels=("direction 1", "direction 2"))
    assert np.array_equal(np.asarray(sheet), np.asarray(titled))


@pytest.mark.parametrize(
    ("rows", "columns", "labels", "message"),
    [
        ([], ("a",), (), "needs images"),
        (table(), ("a", "b"), (), "row 0 has 3 images for 2 columns"),
        (table(), ("a", "b", "c"), ("one",), "1 labels for 2 rows"),
        ([[flat((0, 0, 0)), flat((0, 0, 0), 32)]], ("a", "b"), (), "of one size"),
        ([[np.zeros((8, 8, 3), np.float32)]], ("a",), (), "must be uint8"),
    ],
)
def test_what_is_no_full_table_is_refused(rows, columns, labels, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(rows, columns=columns, labels=labels)


def test_a_saved_sheet_is_a_png(tmp_path):
    sheet = contact_sheet(table(), columns=("a", "b", "c"))
    save_sheet(sheet, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as saved:
        assert saved.format == "PNG"
        assert np.array_equal(np.asarray(saved), np.asarray(sheet))
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
