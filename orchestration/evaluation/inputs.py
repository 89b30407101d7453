"""What the scores of an evaluation depend on, as one value: of equal inputs the scores are equal."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from orchestration.evaluation.metrics import GROUPS, PROTOCOLS, Group, Protocol

_DIGEST_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class EvaluationInputs:
    """What was measured of which model, on which clips. Kept with the scores, finished or not."""

    model_digest: str
    """sha256 of the model's files."""
    dataset_digest: str
    """Of the dataset, over plan and content."""
    partition: str
    """Of the dataset: test or train."""
    protocol: Protocol
    """What is done with a clip."""
    measured: tuple[Group, ...]
    """What is measured, in the order of metrics.GROUPS."""
    pairs: str
    """sha256 of the names of all clips, or of what drives what; see `digest_pairs`."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """By metric, sha256 of its network's file, where there is no official one by which all measure."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol {self.protocol!r} is none of {', '.join(PROTOCOLS)}")
        if unknown := [group for group in self.measured if group not in GROUPS]:
            raise ValueError(f"measured {unknown[0]!r} is none of {', '.join(GROUPS)}")
        in_order = tuple(group for group in GROUPS if group in self.measured)
        object.__setattr__(self, "measured", in_order)

    def differences(self, now: Self) -> str:
        """What is unlike in `now`, for people; empty if nothing is."""
        mine, others = (inputs._shown() for inputs in (self, now))
        return "; ".join(
            f"{name} {mine[name]}, now {others[name]}" for name in mine if mine[name] != others[name]
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "measured": list(self.measured)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ValueError, TypeError or AttributeError for anything else."""
        names = {field.name for field in fields(cls)}
        if values.keys() != names:
            raise ValueError(
                f"lacks {' '.join(sorted(names - values.keys())) or 'nothing'}, has "
                f"{' '.join(sorted(values.keys() - names)) or 'nothing'} besides"
            )
        measured, networks = values["measured"], values["networks"]
        texts = [*(values[name] for name in names - {"measured", "networks"}), *measured, *networks.values()]
        if not isinstance(measured, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError("holds something that is no text")
        return cls(**{**values, "measured": tuple(measured)})

    def _shown(self) -> dict[str, str]:
        return {
            "model": self.model_digest[:_DIGEST_LENGTH],
            "dataset": self.dataset_digest[:_DIGEST_LENGTH],
            "partition": self.partition,
            "protocol": self.protocol,
            "measured": " ".join(self.measured),
            "pairs of clips": self.pairs[:_DIGEST_LENGTH],
            "networks": " ".join(
                f"{name} {digest[:_DIGEST_LENGTH]}" for name, digest in self.networks.items()
            ),
        }


def digest_pairs(names: Iterable[str]) -> str:
    """sha256 of the names of pairs, whatever their order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
