"""Still images in and out."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import InputError, VideoError
from pipelines.media import images
from pipelines.media.images import centre_square, fitted_size, is_still_image, read_image, write_png
from pipelines.media.video import write_video

HEIGHT, WIDTH = 40, 60


def gradient(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def mean_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found.astype(float) - expected).mean())


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("PNG", 0), ("BMP", 0), ("TIFF", 0), ("PPM", 0), ("TGA", 0), ("JPEG", 3), ("WEBP", 3)],
)
def test_formats_from_path_and_from_bytes(tmp_path, kind, tolerance):
    data = saved(Image.fromarray(gradient()), kind)
    (tmp_path / "image").write_bytes(data)
    for source in (data, tmp_path / "image", str(tmp_path / "image")):
        found = read_image(source)
        assert found.dtype == np.uint8
        assert mean_error(found, gradient()) <= tolerance


ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 3),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_is_applied(orientation):
    picture = Image.fromarray(gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_image(saved(picture, "PNG", exif=exif)), ORIENTATIONS[orientation](gradient()))


def test_grey_palette_and_one_bit_become_rgb():
    grey = Image.fromarray(gradient()[..., 0])
    assert np.array_equal(read_image(saved(grey, "PNG")), np.repeat(gradient()[..., :1], 3, axis=2))
    palette = Image.fromarray(gradient()).quantize(16)
    assert np.array_equal(read_image(saved(palette, "PNG")), np.asarray(palette.convert("RGB")))
    assert read_image(saved(grey.convert("1"), "PNG")).shape == (HEIGHT, WIDTH, 3)
    assert read_image(saved(Image.fromarray(gradient()).convert("CMYK"), "JPEG")).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_greys_are_scaled_not_clipped(kind):
    samples = (gradient()[..., 0].astype(np.uint16)) * 257
    found = read_image(saved(Image.fromarray(samples), kind))
    assert np.array_equal(found, np.repeat(gradient()[..., :1], 3, axis=2))


def test_transparency_is_laid_over_white():
    rgba = np.dstack([gradient(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    rgba[:, :30, 3] = 0
    rgba[:, 30:40, 3] = 128
    found = read_image(saved(Image.fromarray(rgba), "PNG"))
    assert (found[:, :30] == 255).all()
    assert mean_error(found[:, 30:40], (gradient()[:, 30:40].astype(int) + 255) / 2) < 2
    assert np.array_equal(found[:, 40:], gradient()[:, 40:])


def test_a_transparent_palette_colour_becomes_white():
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert read_image(saved(palette, "PNG", transparency=0)).tolist() == [[[255, 255, 255], [0, 255, 0]]]


def test_animations_give_their_first_frame():
    pictures = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    data = saved(pictures[0], "GIF", save_all=True, append_images=pictures[1:])
    assert mean_error(read_image(data), np.full((8, 8, 3), 10)) <= 2
    assert not is_still_image(data)
    assert is_still_image(saved(pictures[0], "GIF"))


def test_crop_and_stretch():
    data = saved(Image.fromarray(gradient()), "PNG")
    assert np.array_equal(read_image(data, size=HEIGHT), gradient()[:, 10:50])
    expected = Image.fromarray(gradient()).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(read_image(data, size=16, fit="stretch"), np.asarray(expected))
    assert read_image(data, size=128).shape == (128, 128, 3)
    with pytest.raises(ValueError, match='fit must be "crop" or "stretch"'):
        read_image(data, size=16, fit="pad")


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (1920, 1080, 256, (455, 256)),
        (1080, 1920, 256, (256, 455)),
        (256, 256, 256, (256, 256)),
        (3, 2, 64, (96, 64)),
    ],
)
def test_fitted_size(width, height, size, expected):
    assert fitted_size(width, height, size, "crop", "x") == expected
    assert fitted_size(width, height, size, "stretch", "x") == (size, size)
    assert centre_square(np.zeros((expected[1], expected[0], 3), np.uint8), size).shape == (size, size, 3)


def test_needles_are_refused():
    with pytest.raises(VideoError, match="too long for a square crop"):
        read_image(saved(Image.new("RGB", (60000, 1)), "PNG"), size=256)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8_001, 10_000, 100_000])
def test_decompression_bombs_are_refused(side):
    with pytest.raises(VideoError) as caught:
        read_image(png_claiming(side, side))
    assert caught.value.reason == "too_large"


GOOD_JPEG = saved(Image.fromarray(gradient(200, 200)), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (b"", "empty_file", "the file is empty"),
        (b"hello\n" * 50, "not_an_image", "is no image.*Give a PNG, JPEG or WebP"),
        (GOOD_JPEG[: len(GOOD_JPEG) // 2], "unreadable", "JPEG image is damaged"),
        pytest.param(png_claiming(10, 10), "unreadable", "PNG image is damaged", id="png-without-pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image", "is no image"),
        (saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "unreadable", "floating-point"),
    ],
)
def test_unusable_images_are_refused(tmp_path, data, reason, message):
    path = tmp_path / "image.png"
    path.write_bytes(data)
    for source, name in ((path, str(path)), (data, f"<{len(data)} bytes>")):
        with pytest.raises(VideoError, match=message) as caught:
            read_image(source)
        assert caught.value.reason == reason
        assert str(caught.value).startswith(name)


def test_a_video_as_source_image_says_so(tmp_path):
    write_video(tmp_path / "in.mp4", [gradient()] * 2, 25)
    with pytest.raises(VideoError, match=r"in\.mp4: is a video; a still image is needed") as caught:
        read_image(tmp_path / "in.mp4")
    assert caught.value.reason == "not_an_image"


def test_absent_files_and_folders(tmp_path):
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(VideoError, match="no such file") as caught:
            read_image(path)
        assert caught.value.reason == "missing_image"


def test_damage_anywhere_never_escapes_as_another_error():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "TGA"):
        good = np.frombuffer(saved(Image.fromarray(gradient(16, 16)), kind), np.uint8)
        for _ in range(60):
            data = good.copy()
            data[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
            try:
                found = read_image(data.tobytes(), size=16)
            except VideoError:
                continue
            assert found.shape == (16, 16, 3)


def test_png_comes_back_unchanged(tmp_path):
    write_png(tmp_path / "out.png", gradient())
    assert np.array_equal(read_image(tmp_path / "out.png"), gradient())
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch):
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(images.Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_png(tmp_path / "out.png", gradient())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no such folder"):
        write_png(tmp_path / "absent" / "out.png", gradient())
