"""Folders of numbered images: which are clips, and what is said of those that are not."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.corpus.failures import ClipError
from pipelines.corpus.frame_sequence import damaged_frame, list_sequence, read_sequence

SIZE = (32, 20)


def write(folder: Path, names) -> Path:
    """Images of noise under these names."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)).save(folder / name)
    return folder


def rejected(folder: Path) -> tuple[str, str]:
    with pytest.raises(ClipError) as error:
        read_sequence(folder)
    return error.value.rejected.reason, error.value.rejected.message


@pytest.mark.parametrize(
    ("names", "pattern", "first"),
    [
        pytest.param([f"{n:07d}.png" for n in range(12)], "%07d.png", 0, id="published"),
        pytest.param([f"{n}.jpg" for n in range(8, 20)], "%01d.jpg", 8, id="no-leading-zeros"),
        pytest.param(
            [f"frame 50%-{n:03d}.JPEG" for n in range(1, 13)], "frame 50%%-%03d.JPEG", 1, id="prefix"
        ),
    ],
)
def test_numbered_images_are_a_sequence(tmp_path, names, pattern, first):
    folder = write(tmp_path / "100% v", names)
    (folder / "landmarks.npy").touch()
    (folder / ".DS_Store.png").touch()
    sequence = read_sequence(folder)
    assert sequence.pattern == f"{str(folder).replace('%', '%%')}/{pattern}"
    assert (sequence.first, sequence.count) == (first, 12)
    assert [sequence.path(n).name for n in (0, 11)] == [names[0], names[11]]
    assert (sequence.width, sequence.height) == SIZE


@pytest.mark.parametrize(("stated", "rate"), [(25.0, 25), (29.97, Fraction(30000, 1001)), (12.5, 12.5)])
def test_a_sequence_is_a_video_of_the_rate_given(tmp_path, stated, rate):
    info = list_sequence(write(tmp_path / "v", ["0.png", "1.png"])).info(stated)
    assert (info.fps, info.constant_rate, info.n_frames, info.codec) == (rate, True, 2, "png")


def test_a_folder_without_images_is_empty(tmp_path):
    assert rejected(write(tmp_path / "v", []))[0] == "empty_folder"


@pytest.mark.parametrize(
    ("names", "reason", "words"),
    [
        pytest.param(["00.png", "01.png", "03.png"], "missing_frames", ["02.png", "03.png"], id="gap"),
        pytest.param(["00.png", "01.png", "cover.png"], "unreadable", ["cover.png"], id="no-number"),
        pytest.param(["00.png", "01.jpg"], "unreadable", ["01.jpg", "00.png"], id="two-formats"),
        pytest.param(["00.png", "00.jpg"], "unreadable", ["00.png"], id="one-number-twice"),
        pytest.param(["a00.png", "b01.png"], "unreadable", ["b01.png"], id="two-prefixes"),
        pytest.param(["8.png", "09.png"], "unreadable", ["09.png"], id="uneven-digits"),
        pytest.param(["1699999999999.png"], "unreadable", ["no frame number"], id="timestamps"),
    ],
)
def test_names_that_make_no_sequence(tmp_path, names, reason, words):
    found, message = rejected(write(tmp_path / "v", names))
    assert found == reason
    assert all(word in message for word in words)


def _resize(path):
    Image.open(path).resize((16, 16)).save(path)


def _turn(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda path: path.write_text("no image"), "unreadable", id="text"),
        pytest.param(lambda path: path.write_bytes(b""), "empty_file", id="empty"),
        pytest.param(
            lambda path: Image.open(path).save(path, format="JPEG"), "unreadable", id="other-format"
        ),
        pytest.param(_resize, "mixed_sizes", id="other-size"),
        pytest.param(_turn, "unreadable", id="turned"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), "unreadable", id="folder"),
    ],
)
def test_an_image_that_cannot_be_a_frame_is_named(tmp_path, spoil, reason):
    folder = write(tmp_path / "v", ["0.png", "1.png", "2.png"])
    spoil(folder / "1.png")
    found, message = rejected(folder)
    assert found == reason
    assert str(folder / "1.png") in message


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_the_damaged_image_is_found(tmp_path, suffix, damage):
    folder = write(tmp_path / "v", [f"{n}.{suffix}" for n in range(4)])
    sequence = read_sequence(folder)
    assert damaged_frame(sequence, range(4)) is None
    path = folder / f"2.{suffix}"
    content = path.read_bytes()
    cut = content[: len(content) * 2 // 3]
    path.write_bytes(cut if damage == "truncated" else cut[:-60] + b"\x00" * 60 + content[len(cut) :])
    assert damaged_frame(sequence, range(4)) == path
    assert damaged_frame(sequence, range(2)) is None
