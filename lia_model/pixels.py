"""Between stored pixels (uint8, channels last) and what the networks read and write (floats, channels first)."""
# T images, H height, W width

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_float(pixels_THW3: Tensor) -> Tensor:
    """uint8 (...,H,W,3) to float32 (...,3,H,W): 0 becomes -1 and 255 becomes 1."""
    return pixels_THW3.movedim(-1, -3).float() / 127.5 - 1


def to_uint8(images_T3HW: Tensor) -> NDArray[np.uint8]:
    """Images (...,3,H,W), clamped to [-1,1], to rounded uint8 (...,H,W,3)."""
    pixels = ((images_T3HW.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array: NDArray[np.uint8] = pixels.movedim(-3, -1).contiguous().cpu().numpy()
    return array
