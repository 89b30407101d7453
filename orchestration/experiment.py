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
    sparsity: float = 0.0
    """Weight of the mean absolute magnitude along the motion directions (LIA-X): motions come to use few of them."""

    def __post_init__(self) -> None:
        for name in ("l1", "perceptual", "adversarial", "sparsity"):
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
    ema: float = 0.0
    """Decay a step of a moving average of the generator's weights, such as 0.999; 0 keeps none. Where there is one,
    it is what is validated, sampled and saved as the model."""

    def __post_init__(self) -> None:
        _require(math.isfinite(self.lr) and self.lr > 0, "OptimiserConfig.lr must be finite and > 0", self.lr)
        _require(
            math.isfinite(self.initial_flow) and self.initial_flow > 0,
            "OptimiserConfig.initial_flow must be finite and > 0",
            self.initial_flow,
        )
        for name in ("beta1", "beta2", "ema"):
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
    min_workers: int = 0
    """Go on with as few as these when machines are lost, each doing more of the batch; 0 waits for all `workers`."""
    micro_batches: int = 1
    """Parts in which a worker goes through its share of a batch, adding up gradients: more take less memory."""
    seed: int = 0
    """Fixes initial weights, the order of the data and augmentation."""
    log_every: int = 100
    """Steps between two records of the losses."""
    sample_every: int = 5_000
    """Steps between two sample grids."""
    validate_every: int = 5_000
    """Steps between two validations on held-out pairs; every checkpoint comes with one, too."""
    validation_pairs: int = 64
    """Held-out pairs that a validation goes through, the same ones each time; 0 turns it off."""
    checkpoint_every: int = 5_000
    """Steps between two checkpoints; the last step is always one."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay, beside the best one by validation."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "workers", "micro_batches", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, f"ScheduleConfig.{name} must be >= 1", getattr(self, name))
        for name in ("log_every", "sample_every", "validate_every", "checkpoint_every"):
            _require(getattr(self, name) >= 1, f"ScheduleConfig.{name} must be >= 1", getattr(self, name))
        _require(
            self.validation_pairs >= 0, "ScheduleConfig.validation_pairs must be >= 0", self.validation_pairs
        )
        _require(0 <= self.seed < 2**63, "ScheduleConfig.seed must lie in 0 .. 2**63-1", self.seed)
        _require(
            0 <= self.min_workers <= self.workers,
            f"ScheduleConfig.min_workers must lie in 0 .. workers = {self.workers}",
            self.min_workers,
        )
        parts = self.workers * self.micro_batches
        _require(
            self.batch_size % parts == 0,
            f"ScheduleConfig.batch_size must be a multiple of workers * micro_batches = {parts}",
            self.batch_size,
        )

    @property
    def micro_batch_size(self) -> int:
        """Pairs that go through the networks at once."""
        return self.batch_size // (self.workers * self.micro_batches)

    @property
    def elastic(self) -> bool:
        """Whether training may go on with fewer workers."""
        return 0 < self.min_workers < self.workers


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What the networks are computed on, and how."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to train on; auto takes GPUs where the cluster has any."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the networks under autocast; weights, their averages and the motion directions stay in float32."""
    channels_last: bool = False
    """Lay activations out with the channels innermost, as the matrix units of GPUs want them."""
    compile: bool = False
    """Compile the networks with torch.compile: minutes at the start, faster steps. Needs a C++ compiler on CPUs."""
    recompute: bool = False
    """Keep only the activations between blocks and compute the others again in the backward pass: about a third more
    work in much less memory."""


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
    compute: ComputeConfig = field(default_factory=ComputeConfig)

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
    "schedule": (
        "log_every",
        "sample_every",
        "validate_every",
        "validation_pairs",
        "checkpoint_every",
        "keep_checkpoints",
        "min_workers",
    ),
}


def _require(condition: bool, rule: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{rule}, got {value}")
