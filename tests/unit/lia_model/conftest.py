"""The smallest models that have every part."""

import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.generator import Generator


@pytest.fixture
def toy_config() -> LiaConfig:
    return LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=1 / 64)


@pytest.fixture
def toy(toy_config: LiaConfig) -> Generator:
    """A generator of float64, so that two ways to the same number can be told from two numbers."""
    torch.manual_seed(0)
    return Generator(toy_config).double()
