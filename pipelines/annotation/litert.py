"""A network in a .tflite file, run by LiteRT on one core."""

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputError

_MAX_LOGIT = 100.0


class LiteRtModel:
    """A loaded network with one input, an RGB image in a batch of one."""

    def __init__(self, weights: bytes) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise InputError(
                f"Detectors need ai-edge-litert, which is not installed ({error}): "
                f"pip install 'lia-platform[annotate]'"
            ) from error
        # One thread: detectors run as many at once as there are cores.
        self._interpreter = Interpreter(model_content=weights, num_threads=1)
        self._interpreter.allocate_tensors()
        (self._input,) = (detail["index"] for detail in self._interpreter.get_input_details())
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def __call__(self, image_HW3: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs for one image, in the file's order and without their batch dimension."""
        self._interpreter.set_tensor(self._input, image_HW3[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """What networks leave to be done with how sure they are: from logits to 0 to 1, without overflow."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -_MAX_LOGIT, _MAX_LOGIT)))
