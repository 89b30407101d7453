"""What a sweep varies: fields of the experiment by name, each with the values that it may take.

    model.motion_dim=5,10,20        one of these (for fields that are lists themselves: 1|1,0.5|1,0.5,0.25)
    loss.perceptual=log:1:100       a number between, evenly spread over its logarithm
    optimiser.beta1=uniform:0:0.9   a number between
    model.motion_dim=int:5:100      a whole number between, bounds included; logint: likewise over its logarithm

All of it is tried on the experiment before anything starts.
"""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_origin

from orchestration import configuration
from orchestration.configuration import ConfigurationError
from orchestration.experiment import Experiment

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DEFAULT = ("model.motion_dim=5,10,20,40,100", "loss.perceptual=log:1:100")
"""The paper's ablation: the number of motion directions, and lambda."""
FIXED = {
    "name": "it names the registered model",
    "prepare.size": "the dataset is prepared already",
    "model.image_size": "the dataset is prepared already",
    "compute.device": "it changes what a trial takes, not what it learns",
    "schedule.workers": "it changes what a trial takes, not what it learns",
    "schedule.min_workers": "it changes what a trial takes, not what it learns",
    "schedule.validation_pairs": "trials would be compared on different pairs",
    "schedule.validate_every": "trials would be stopped at different steps",
    "schedule.checkpoint_every": "trials would be stopped at different steps",
}
"""Fields that cannot be swept, with the reason; so cannot those of `prepare`."""
_RANGES_OF = {float: ("uniform", "log"), int: ("int", "logint")}
_RANGES = tuple(itertools.chain(*_RANGES_OF.values()))
_MOST_CORNERS = 256

Value = bool | int | float | str


@dataclass(frozen=True)
class Dimension:
    """One field and its values."""

    field: str
    choices: tuple[Value, ...] = ()
    """One of these; of a field that is a list, its text."""
    low: float = 0.0
    high: float = 0.0
    """Or what lies between these."""
    whole: bool = False
    log: bool = False

    @property
    def ends(self) -> tuple[Value, ...]:
        """The choices, or both bounds."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    @property
    def count(self) -> float:
        """How many values there are."""
        if self.choices:
            return len(self.choices)
        return self.high - self.low + 1 if self.whole else math.inf

    def distribution(self) -> "BaseDistribution":
        """As Optuna knows it."""
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if self.whole:
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Space:
    """The fields that a sweep varies."""

    dimensions: tuple[Dimension, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in the order they were given."""
        return tuple(dimension.field for dimension in self.dimensions)

    def combinations(self) -> float:
        """How many there are; infinite where a field is not swept over a list or whole numbers."""
        return math.prod(dimension.count for dimension in self.dimensions)

    def distributions(self) -> "dict[str, BaseDistribution]":
        """As Optuna knows them."""
        return {dimension.field: dimension.distribution() for dimension in self.dimensions}


def read_space(specs: Sequence[str], base: Experiment) -> Space:
    """The space that the specs describe, tried on `base` in all its corners.

    Raises ConfigurationError for an unknown field, a spec that cannot be read, or values that the experiment refuses.
    """
    space = Space(tuple(_dimension(spec, base) for spec in specs))
    if not space.dimensions:
        raise ConfigurationError("--space: name at least one field, such as model.motion_dim=5,10,20")
    for field in space.fields:
        if space.fields.count(field) > 1:
            raise ConfigurationError(f"--space {field}: is given twice")
    if "loss.perceptual" in space.fields and base.loss.perceptual_features == "none":
        raise ConfigurationError(
            "--space loss.perceptual: has no effect while loss.perceptual_features = none: set "
            "--loss.perceptual_features vgg19 or vgg16-hed, or name other fields with --space"
        )
    for _ in itertools.islice(corners(space, base, space.fields), _MOST_CORNERS):
        pass  # one that the experiment refuses raises
    return space


def require_choice(space: Space) -> None:
    """Raise ConfigurationError where a field has one value only."""
    for dimension in space.dimensions:
        if dimension.count == 1:
            name, value = dimension.field, _text(dimension.choices[0])
            raise ConfigurationError(
                f"--space {name}={value}: one value leaves nothing to vary: give several, or set --{name} {value}"
            )


def corners(space: Space, base: Experiment, fields: Collection[str]) -> Iterator[Experiment]:
    """The experiment with the ends of these fields, as far as they are swept, in all combinations."""
    swept = [dimension for dimension in space.dimensions if dimension.field in fields]
    for ends in itertools.product(*(dimension.ends for dimension in swept)):
        values = {dimension.field: end for dimension, end in zip(swept, ends, strict=True)}
        yield apply(base, values, origin="--space")


def apply(base: Experiment, values: Mapping[str, Any], *, origin: str = "trial") -> Experiment:
    """The experiment with these fields replaced; ConfigurationError if it refuses them together."""
    return configuration.override(base, {name: _text(value) for name, value in values.items()}, origin=origin)


def _dimension(spec: str, base: Experiment) -> Dimension:
    name, equals, values = spec.partition("=")
    if not equals or not values:
        raise ConfigurationError(
            f"--space {spec}: give FIELD=VALUES, such as model.motion_dim=5,10,20 or optimiser.lr=log:1e-4:1e-2"
        )
    fields = {field.name: field for field in configuration.fields(base)}
    if name not in fields:
        apply(base, {name: ""}, origin="--space")  # raises, with the name that was meant
    if name in FIXED or name.startswith("prepare."):
        why = FIXED.get(name, "the dataset is prepared already")
        raise ConfigurationError(f"--space {name}: cannot be swept: {why}")
    kind, colon, bounds = values.partition(":")
    if colon and (kind in _RANGES or fields[name].kind in _RANGES_OF):
        return _range(spec, name, kind, bounds, fields[name])
    return _choices(name, values, base, fields[name])


def _range(spec: str, name: str, kind: str, bounds: str, field: configuration.Field) -> Dimension:
    known = _RANGES_OF.get(field.kind, ())
    if kind not in known:
        wanted = " or ".join(f"{other}:LOW:HIGH" for other in known) or f"{name}=A,B,C"
        shown = getattr(field.kind, "__name__", str(field.kind))
        raise ConfigurationError(f"--space {spec}: {name} is a field of type {shown}: use {wanted}")
    whole = field.kind is int
    try:
        low, high = (float(int(part)) if whole else float(part) for part in bounds.split(":"))
    except ValueError:
        numbers = "two whole numbers" if whole else "two numbers"
        raise ConfigurationError(f"--space {spec}: give {kind}:LOW:HIGH, {numbers}") from None
    log = kind in ("log", "logint")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigurationError(f"--space {spec}: give finite bounds")
    if low >= high:
        raise ConfigurationError(f"--space {spec}: the lower bound must lie below the upper one")
    if log and low <= 0:
        raise ConfigurationError(f"--space {spec}: a logarithmic range begins above 0")
    return Dimension(name, low=low, high=high, whole=whole, log=log)


def _choices(name: str, values: str, base: Experiment, field: configuration.Field) -> Dimension:
    separator = "|" if get_origin(field.kind) is tuple else ","
    texts = [text.strip() for text in values.split(separator)]
    found = tuple(_typed(base, name, text) for text in texts)
    if len(set(found)) < len(found):
        raise ConfigurationError(f"--space {name}={values}: a value is given twice")
    return Dimension(name, choices=found)


def _typed(base: Experiment, name: str, text: str) -> Value:
    """The field's value as the experiment reads it; that of a list stays text, as Optuna has no lists."""
    replaced = apply(base, {name: text}, origin="--space")
    value = next(field.value for field in configuration.fields(replaced) if field.name == name)
    return value if isinstance(value, bool | int | float | str) else text


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)
