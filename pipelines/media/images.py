"""Still images in and out: any common format to uint8 RGB, and PNG."""

import io
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipelines.errors import VideoError
from pipelines.storage.atomic import atomic_path

# H, W height and width in pixels; 3: red, green, blue
RgbImage = NDArray[np.uint8]
Fit = Literal["crop", "stretch"]
ImageSource = Path | str | bytes

MAX_PIXELS = 64_000_000
"""Larger images and video frames are refused before they are decoded: 8K video has 33 million pixels."""

# A closed list: some of Pillow's other readers start programs (EPS). AVIF is missing from older builds.
Image.init()
IMAGE_FORMATS = tuple(
    name for name in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM", "TGA") if name in Image.OPEN
)
_BACKGROUND = (255, 255, 255)


def read_image(source: ImageSource, size: int | None = None, fit: Fit = "crop") -> RgbImage:
    """Read a still image as uint8 RGB: (H,W,3), or (size,size,3) where `size` is given.

    The EXIF orientation is applied, transparency is laid over white, palettes, grey and 16-bit samples become
    8-bit RGB; of an animated image the first frame is taken. `fit` says how an image that is not square
    becomes so: "crop" cuts the largest centred square, "stretch" changes the aspect ratio.

    Raises VideoError with reason missing_image, empty_file, unreadable, not_an_image or too_large.
    """
    name = source_name(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # odd EXIF or palette remarks
        with _open(source, name) as image:
            try:
                rgb = _to_rgb(ImageOps.exif_transpose(image))
            except Exception as error:  # a decoder fed hostile bytes may raise anything
                raise VideoError(
                    "unreadable", f"{name}: the {image.format} image is damaged ({error}). Replace the file."
                ) from error
    # A copy: Pillow's own arrays are read-only, and torch warns of them.
    return np.array(rgb if size is None else _fitted(rgb, size, fit, name))


def write_png(path: Path, image_HW3: RgbImage) -> None:
    """Write an RGB image as PNG; the file appears whole or not at all."""
    with atomic_path(Path(path)) as partial:
        Image.fromarray(image_HW3).save(partial, format="PNG")


def source_name(source: ImageSource) -> str:
    """How messages call the input: its path, or its length where it came as bytes."""
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else str(source)


def check_pixels(width: int, height: int, name: str) -> None:
    """Refuse pictures that are too large to be decoded safely."""
    if width * height > MAX_PIXELS:
        raise VideoError(
            "too_large",
            f"{name}: {width}x{height} pixels are more than the {MAX_PIXELS} allowed. Scale it down first.",
        )


def fitted_size(width: float, height: float, size: int, fit: Fit, name: str) -> tuple[int, int]:
    """The (width, height) to scale a picture to, so that a centred square of `size` can be cut out of it."""
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if fit == "stretch":
        return size, size
    if fit != "crop":
        raise ValueError(f'fit must be "crop" or "stretch", got {fit!r}')
    scale = size / min(width, height)
    scaled = max(size, round(width * scale)), max(size, round(height * scale))
    if scaled[0] * scaled[1] > MAX_PIXELS:
        raise VideoError("too_large", f"{name}: {width:g}x{height:g} pixels are too long for a square crop.")
    return scaled


def centre_square(image_HW3: RgbImage, size: int) -> RgbImage:
    """The centred square of `size` pixels; both sides must be at least that long."""
    top, left = (image_HW3.shape[0] - size) // 2, (image_HW3.shape[1] - size) // 2
    return image_HW3[top : top + size, left : left + size]


def is_still_image(source: ImageSource) -> bool:
    """Whether the file is a picture of a single frame; nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(_readable(source), formats=IMAGE_FORMATS) as image:
                # Two photographs in one MPO file (camera previews) are not a video either.
                return image.format == "MPO" or getattr(image, "n_frames", 1) == 1
    except Exception:  # noqa: BLE001 - a reader fed hostile bytes may raise anything
        return False


def _readable(source: ImageSource) -> Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source)


def _open(source: ImageSource, name: str) -> Image.Image:
    """Read the header; the pixels follow when they are used."""
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise VideoError("missing_image", f"{name}: no such file. Check the path of the image.")
    head = source[:16] if isinstance(source, bytes) else _first_bytes(Path(source), 16)
    if not head:
        raise VideoError("empty_file", f"{name}: the file is empty. Replace it.")
    try:
        image = Image.open(_readable(source), formats=IMAGE_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise VideoError(
            "too_large", f"{name}: more pixels than the {MAX_PIXELS} allowed. Scale it down first."
        ) from error
    except Exception as error:  # a reader fed hostile bytes may raise anything
        remedy = "is a video; a still image is needed" if _is_video(head) else "is no image that can be read"
        raise VideoError("not_an_image", f"{name}: {remedy}. Give a PNG, JPEG or WebP file.") from error
    try:
        check_pixels(image.width, image.height, name)
    except VideoError:
        image.close()
        raise
    return image


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _is_video(head: bytes) -> bool:
    """Whether a file begins as mp4 or mov, Matroska or WebM, or AVI do."""
    return head[4:8] == b"ftyp" or head.startswith(b"\x1aE\xdf\xa3") or head[8:12] == b"AVI "


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit greys at 255 instead of scaling them.
        samples = np.asarray(image).astype(np.int64)
        return Image.fromarray((samples.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point samples have no fixed range; save it with 8 or 16 bits")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    background = Image.new("RGBA", image.size, (*_BACKGROUND, 255))
    return Image.alpha_composite(background, image).convert("RGB")


def _fitted(image: Image.Image, size: int, fit: Fit, name: str) -> RgbImage:
    scaled = fitted_size(image.width, image.height, size, fit, name)
    return centre_square(np.asarray(image.resize(scaled, Image.Resampling.BICUBIC)), size)
