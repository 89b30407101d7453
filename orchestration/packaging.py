"""From a saved generator to a registered MLflow model that animates, wherever it is loaded."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

import lia_model
import pipelines
from pipelines.media.video import encode_video
from tracking.package import log_model
from tracking.registry import ModelVersion, register
from tracking.run import Run

MODEL_SCRIPT = Path(__file__).with_name("packaged_model.py")
PICTURE_MODULES = (
    "__init__",
    "errors",
    "storage/__init__",
    "storage/atomic",
    "media/__init__",
    "media/images",
    "media/probe",
    "media/soundtrack",
    "media/video",
)
"""The part of pipelines that reads and writes pictures; the rest needs Ray and ffmpeg, a model does not."""

_EXAMPLE_SIZE = 64
_EXAMPLE_FRAMES = 4
_EXAMPLE_FPS = 25


def publish(
    run: Run,
    generator: Path,
    *,
    name: str,
    aliases: tuple[str, ...] = (),
    tags: Mapping[str, object] | None = None,
    example: Mapping[str, bytes] | None = None,
    step: int = 0,
) -> ModelVersion:
    """Log the generator in folder `generator` as an output of `run`; register it as `name`'s next version.

    `example` holds the bytes of a small "source" image and "driving" video that come with the model; without
    one a moving disc is drawn. `tags` (provenance, scores) go to the logged model and the registered version.
    """
    with staged_code() as code_paths:
        model_id = log_model(
            run,
            name=name,
            generator=generator,
            script=MODEL_SCRIPT,
            code_paths=code_paths,
            example=example or drawn_example(),
            tags=tags,
            step=step,
        )
    return register(name, model_id, aliases=aliases, tags=tags, tracking_uri=run.tracking_uri)


@contextmanager
def staged_code() -> Iterator[list[Path]]:
    """Folders with the packages that the model imports: all of lia_model, pictures from pipelines."""
    with tempfile.TemporaryDirectory(prefix="lia-code-") as temporary:
        model_code = Path(temporary) / "lia_model"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(lia_model.__path__[0]), model_code, ignore=ignored)
        picture_code = Path(temporary) / "pipelines"
        for module in PICTURE_MODULES:
            target = picture_code / f"{module}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(pipelines.__path__[0]) / f"{module}.py", target)
        yield [model_code, picture_code]


def drawn_example() -> dict[str, bytes]:
    """A disc, and a video in which it moves: small, and free of anybody's rights."""
    frames = [_disc(12 + 10 * index) for index in range(_EXAMPLE_FRAMES)]
    source = BytesIO()
    Image.fromarray(frames[0]).save(source, format="PNG")
    return {"source": source.getvalue(), "driving": encode_video(frames, _EXAMPLE_FPS)}


def _disc(column: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """White on grey, centred at `column`: uint8 (size, size, 3)."""
    y, x = np.mgrid[:_EXAMPLE_SIZE, :_EXAMPLE_SIZE]
    inside = (y - _EXAMPLE_SIZE // 2) ** 2 + (x - column) ** 2 < (_EXAMPLE_SIZE // 6) ** 2
    return np.repeat(np.where(inside, 255, 96).astype(np.uint8)[..., None], 3, axis=2)
