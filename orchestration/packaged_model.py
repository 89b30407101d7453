"""The script inside a packaged model: MLflow runs it to get the model, also where this repository is not.

Importing it declares a model to MLflow, so nothing else imports it; `orchestration.packaging` passes its
path. It may use only what is packaged with it: lia_model, and of pipelines what reads and writes pictures.
"""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import mlflow
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from torch import Tensor

from lia_model.animation import Mode, animate
from lia_model.pixels import to_float, to_uint8
from lia_model.weights import load_generator
from pipelines.errors import InputError
from pipelines.media.images import RgbImage, read_image
from pipelines.media.video import decode_frames, encode_video, read_info

MODES: tuple[Mode, ...] = get_args(Mode)


class Animator(PythonModel):
    """Animates still images. One row of input is one animation.

    Columns `source` (an image file's bytes, or base64 of them) and `driving` (a video file's); parameter `mode`: in
    "absolute" the source takes the driving pose, in "relative" it makes the driving movement. The answer's
    column `video` has mp4 bytes: square, at the driving frame rate, with its sound. Other input raises
    MlflowException with INVALID_PARAMETER_VALUE, which a server answers with status 400.
    """

    def load_context(self, context: PythonModelContext) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.generator = load_generator(context.artifacts["generator"]).eval().to(self.device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        mode = (params or {}).get("mode", MODES[0])
        if mode not in MODES:
            raise MlflowException.invalid_parameter_value(f"mode must be one of {MODES}, got {mode!r}")
        rows = zip(model_input["source"], model_input["driving"], strict=True)
        return pd.DataFrame({"video": [self._animated(i, *row, mode) for i, row in enumerate(rows)]})

    def _animated(self, row: int, source: object, driving: object, mode: Mode) -> bytes:
        size = self.generator.config.image_size
        with _naming(row, "source"):
            image_13HW = self._tensor(read_image(_file(source), size))[None]
        with _naming(row, "driving"):
            video = _file(driving)
            fps = read_info(video).fps
            driving_frames = map(self._tensor, decode_frames(video, size))
            animated = animate(self.generator, image_13HW, driving_frames, mode)
            return encode_video(map(to_uint8, animated), fps, audio_from=video)

    def _tensor(self, picture_HW3: RgbImage) -> Tensor:
        # A copy: Pillow's arrays are read-only, which tensors cannot be.
        return to_float(torch.from_numpy(picture_HW3.copy())).to(self.device)


@contextmanager
def _naming(row: int, column: str) -> Iterator[None]:
    """Have the caller told which of his files cannot be used, and why."""
    try:
        yield
    except InputError as error:
        raise MlflowException.invalid_parameter_value(f"row {row}: {column}: {error}") from error


def _file(value: object) -> bytes:
    """A file's bytes. MLflow's server decodes base64 in some of its request formats and leaves it in others."""
    if isinstance(value, str):
        value = value.encode(errors="replace")
    if not isinstance(value, bytes):
        raise InputError(f"expected the bytes of a file, got {type(value).__name__}")
    if not value or not value.isascii():
        return value
    # No image or video is plain text, so this is base64 or a mistake, such as a path.
    try:
        return base64.b64decode(b"".join(value.split()), validate=True)
    except binascii.Error as error:
        raise InputError(
            "is plain text, neither a file nor base64 of one. Give the file's bytes, in a request as base64."
        ) from error


mlflow.models.set_model(Animator())
