"""The toy models that the golden files were made with, as lia_model and as the reference see them."""

from dataclasses import dataclass

from lia_model.config import LiaConfig
from tests.parity.reference import Sizes


@dataclass(frozen=True, kw_only=True)
class Toy:
    """One model in both languages, and the number of images to put through it."""

    config: LiaConfig
    sizes: Sizes
    batch: int


TOYS = {
    "32": Toy(
        config=LiaConfig(image_size=32, style_dim=24, motion_dim=3, width=1 / 32),
        sizes=Sizes(image_size=32, style_dim=24, motion_dim=3, channels={4: 16, 8: 16, 16: 16, 32: 16}),
        batch=2,
    ),
    "64": Toy(
        config=LiaConfig(image_size=64, style_dim=20, motion_dim=5, width=1 / 32, channel_multiplier=4),
        sizes=Sizes(
            image_size=64, style_dim=20, motion_dim=5, channels={4: 16, 8: 16, 16: 16, 32: 16, 64: 32}
        ),
        batch=1,
    ),
}
