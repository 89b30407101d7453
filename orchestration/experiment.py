"""What one training run is: the frozen configuration that a recipe names, flags replace and a run saves.

Importing this module loads neither torch nor Ray, so that help texts are built from it at once.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lia_model.config import LiaConfig
from pipelines.cropping.config import PrepareConfig

PerceptualFeatures = Literal["vgg19", "vgg16-hed", "none"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How training pairs are read and augmented."""

    flip: bool = False
    """Mirror both images of a pair, with probability one half."""
    colour_jitter: float = 0.0
    """Strength of the brightness, contrast, saturation and hue jitter shared by both images; 0 turns it off."""
    loader_workers: int = 0
    """Reader processes for each training worker; 0 reads in the training process."""

    def __post_init__(self) -> None:
        _require(
            0.0 <= self.colour_jitter <= 0.5,
            "DataConfig.colour_jitter must lie in [0, 0.5]",
            self.colour_jitter,
        )
        _require(self.loader_workers >= 0, "DataConfig.loader_workers must be >= 0", self.loader_workers)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the three terms (LIA, eq. 8): reconstruction, perceptual, adversarial."""

    l1: float = 1.0
    """Weight of the mean absolute difference."""
    l1_scales: tuple[float, ...] = (1.0,)
    """Scales at which the mean absolute difference is taken and summed; (1,) is the paper's."""
    perceptual: float = 10.0
    """Weight of the perceptual distance (lambda in the paper)."""
    perceptual_features: PerceptualFeatures = "vgg19"
    """Network behind the perceptual distance: ImageNet's vgg19 (your file), vgg16-hed (`lia fetch`), or none."""
    perceptual_scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    """Scales at which the perceptual distance is taken and summed."""
    adversarial: float = 1.0
    """Weight of the adversarial term; 0 trains without a discriminator."""

    def __post_init__(self) -> None:
        for name in ("l1", "perceptual", "adversarial"):
            weight = getattr(self, name)
            _require(
                math.isfinite(weight) and weight >= 0, f"LossConfig.{name} must be finite and >= 0", weight
            )
        for name in ("l1_scales", "perceptual_scales"):
            scales = getattr(self, name)
            _require(
                bool(scales) and all(0 < s <= 1 and round(1 / s) * s == 1 for s in scales),
                f"LossConfig.{name} must be of 1, 1/2, 1/3, ...",
                scales,
            )
        _require(
            self.l1 + self.perceptual + self.adversarial > 0,
            "LossConfig.l1, perceptual or adversarial must be above 0",
            0,
        )

    @property
    def uses_perceptual(self) -> bool:
        return self.perceptual > 0 and self.perceptual_features != "none"


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Where training starts, and Adam, alike for both networks but for the fixed lazy-regularisation ratios."""

    lr: float = 0.002
    """Learning rate before the ratio."""
    beta1: float = 0.0
    """Decay of the first moment, before the ratio."""
    beta2: float = 0.99
    """Decay of the second moment, before the ratio."""
    initial_flow: float = 1.0
    """Scale of the initial weights that make flow and masks. 1 is the published start, which warps at random; near 0
    the source begins unwarped."""

    def __post_init__(self) -> None:
        _require(math.isfinite(self.lr) and self.lr > 0, "OptimiserConfig.lr must be finite and > 0", self.lr)
        _require(
            math.isfinite(self.initial_flow) and self.initial_flow > 0,
            "OptimiserConfig.initial_flow must be finite and > 0",
            self.initial_flow,
        )
        for name in ("beta1", "beta2"):
            _require(
                0 <= getattr(self, name) < 1,
                f"OptimiserConfig.{name} must lie in [0, 1)",
                getattr(self, name),
            )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How long, how large and how often."""

    steps: int = 800_000
    """Optimisation steps in all."""
    batch_size: int = 32
    """Pairs in one step, over all workers; a multiple of `workers`."""
    workers: int = 8
    """Training processes: one GPU each, or one share of the machine's CPUs each."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to train on; auto takes GPUs where the cluster has any."""
    seed: int = 0
    """Fixes initial weights, the order of the data and augmentation."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the networks under autocast; weights stay in float32."""
    log_every: int = 100
    """Steps between two records of the losses."""
    sample_every: int = 5_000
    """Steps between two sample grids."""
    checkpoint_every: int = 5_000
    """Steps between two checkpoints; the last step is always one."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "workers", "log_every", "sample_every", "checkpoint_every"):
            _require(getattr(self, name) >= 1, f"ScheduleConfig.{name} must be >= 1", getattr(self, name))
        _require(
            self.keep_checkpoints >= 1, "ScheduleConfig.keep_checkpoints must be >= 1", self.keep_checkpoints
        )
        _require(0 <= self.seed < 2**63, "ScheduleConfig.seed must lie in 0 .. 2**63-1", self.seed)
        _require(
            self.batch_size % self.workers == 0,
            f"ScheduleConfig.batch_size must be a multiple of workers = {self.workers}",
            self.batch_size,
        )

    @property
    def batch_per_worker(self) -> int:
        return self.batch_size // self.workers


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything a run's result depends on, but for the data and the code."""

    name: str
    """Name of the MLflow experiment and of the registered model."""
    model: LiaConfig = field(default_factory=LiaConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        _require(
            bool(self.name) and all(c.isalnum() or c in "._-" for c in self.name),
            "Experiment.name must be made of letters, digits, '.', '_' and '-'",
            repr(self.name),
        )
        _require(
            self.prepare.size == self.model.image_size,
            f"Experiment.prepare.size must equal model.image_size = {self.model.image_size}",
            self.prepare.size,
        )

    def content(self) -> dict[str, Any]:
        """The fields that decide what a run results in, nested as in the configuration."""
        tree = asdict(self)
        for section, names in _WITHOUT_EFFECT.items():
            for name in names:
                del tree[section][name]
        return {**tree, "prepare": self.prepare.content()}


# What can change without changing the result of a run.
_WITHOUT_EFFECT = {
    "data": ("loader_workers",),
    "schedule": ("log_every", "sample_every", "checkpoint_every", "keep_checkpoints"),
}


def _require(condition: bool, rule: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{rule}, got {value}")
