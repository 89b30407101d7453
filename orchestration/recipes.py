"""Named experiments. A recipe is a function that returns an `Experiment`; flags and sweeps replace its fields."""

from collections.abc import Callable
from dataclasses import replace

from lia_model.config import LiaConfig
from orchestration.experiment import (
    ComputeConfig,
    DataConfig,
    Experiment,
    LossConfig,
    OptimiserConfig,
    ScheduleConfig,
)
from pipelines.cropping.config import PrepareConfig


def vox256() -> Experiment:
    """VoxCeleb at 256 px with the paper's settings: 20 directions, lambda 10, no augmentation."""
    return Experiment(name="lia-vox256", data=DataConfig(loader_workers=4))


def taichi256() -> Experiment:
    """TaichiHD at 256 px: the paper's settings, with flip and colour jitter shared by both images of a pair."""
    return replace(
        vox256(), name="lia-taichi256", data=DataConfig(flip=True, colour_jitter=0.1, loader_workers=4)
    )


def ted256() -> Experiment:
    """TED-talks at 256 px: as taichi256."""
    return replace(taichi256(), name="lia-ted256")


def demo() -> Experiment:
    """A small model at 64 px that two CPU cores train in minutes."""
    return Experiment(
        name="lia-demo",
        model=LiaConfig(image_size=64, style_dim=128, motion_dim=8, width=0.125),
        prepare=PrepareConfig(size=64),
        loss=LossConfig(
            l1_scales=(1.0, 0.5, 0.25), perceptual=0.0, perceptual_features="none", adversarial=0.0
        ),
        # Without an adversary there is no reason to forget gradients at once, and momentum saves half the steps.
        # So few steps cannot repair a random flow: parts that it fetches from outside the image stay blank.
        optimiser=OptimiserConfig(lr=0.004, beta1=0.9, initial_flow=0.05),
        schedule=ScheduleConfig(
            steps=1600,
            batch_size=8,
            workers=2,
            log_every=20,
            sample_every=400,
            validate_every=400,
            validation_pairs=32,
            checkpoint_every=400,
        ),
        compute=ComputeConfig(device="cpu"),
    )


RECIPES: dict[str, Callable[[], Experiment]] = {f.__name__: f for f in (vox256, taichi256, ted256, demo)}


def recipe(name: str) -> Experiment:
    """The experiment called `name`; ValueError lists the names there are."""
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]()
