"""Which version of a registered model an alias such as `champion` stands for, and why: compare, promote, roll back.

A version may take an alias over only if it beats the one that has it: the same held-out clips, the difference of the
named metric clip by clip, and the whole interval of its mean on the better side (see `evaluation.paired`).
"""

import getpass
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestration.configuration import differing
from orchestration.evaluation.intervals import CONFIDENCE, LEAST_CLIPS
from orchestration.evaluation.metrics import METRICS
from orchestration.evaluation.paired import DifferentClipsError, PairedComparison, compare_evaluations
from orchestration.evaluation.scores import EVALUATION, Evaluation
from orchestration.registration import (
    CONFIG_TAG,
    DIGEST_TAG,
    UNOPPOSED,
    promotion_tag,
    promotion_tags,
    version_settings,
)
from pipelines.errors import InputError
from tracking.provenance import TAG_PREFIX
from tracking.registry import ModelVersion, find, list_versions, set_alias, tag_version
from tracking.run import Run

_ALIAS = re.compile(r"(?!latest$|v\d+$)[\w-]{1,100}", re.ASCII | re.IGNORECASE)
"""What MLflow takes for an alias."""


class PromotionError(InputError):
    """A version may not take the alias over, or the two cannot be compared; says why and what would help."""


@dataclass(frozen=True, kw_only=True)
class Comparison(PairedComparison):
    """Two versions on the same clips; differences are the candidate's scores less the holder's."""

    candidate: ModelVersion
    holder: ModelVersion

    def table(self) -> str:
        """For people: a row a metric."""
        names = [f"version {version.version}" for version in (self.candidate, self.holder)]
        lines = [
            f"{self.candidate.name}, {self.clips} clips"
            + (f"; {LEAST_CLIPS} at least can decide" if self.clips < LEAST_CLIPS else "")
            + (f"; {self.failures}" if self.failed else ""),
            f"{'':20}{names[0]:>12}{names[1]:>12}  {'difference':30}",
        ]
        for name, difference in self.differences.items():
            metric = METRICS[name]
            means = "".join(f"{mean:12.{metric.digits}f}" for mean in self.means[name])
            shown = difference.shown(metric.digits, sign="+")
            fewer = f" (on {self.measured[name]} clips)" if self.measured[name] < self.clips else ""
            lines.append(f"{metric.title:20}{means}  {shown:30}{self.verdict(name)}{fewer}")
        lines.append(f"[ ] the mean difference's {CONFIDENCE:.0%} interval, by bootstrap over clips")
        return "\n".join([*lines, *self._beginnings(), *self._settings()])

    def _beginnings(self) -> list[str]:
        """With what model the training of each began, where that is not the same."""
        new, old = (_beginning(version) for version in (self.candidate, self.holder))
        return [f"began with {new}, was {old}"] if new != old else []

    def _settings(self) -> list[str]:
        """In what the two were configured differently, as far as the versions say."""
        versions = (self.candidate, self.holder)
        kept = [version_settings(version) for version in versions]
        if not all(kept):
            without = [
                str(version.version) for version, found in zip(versions, kept, strict=True) if not found
            ]
            return [f"settings: version {' and '.join(without)} keeps none as its tag {CONFIG_TAG}"]
        rows = [(name, *(value or "-" for value in values)) for name, values in differing(kept)]
        return [
            f"settings: {'those that differ' if rows else 'the same'}; the tag {CONFIG_TAG} of a version has all",
            *(f"  {name:28} {new}, was {old}" for name, new, old in rows),
        ]


def compare(candidate: ModelVersion, holder: ModelVersion, *, tracking_uri: str | None = None) -> Comparison:
    """Compare by the evaluations that their runs keep; PromotionError if those are not of the same clips."""
    if candidate.uri == holder.uri:
        raise PromotionError(f"{candidate.uri} would be compared with itself: name two versions")
    new, old = (_evaluation(version, tracking_uri) for version in (candidate, holder))
    try:
        paired = compare_evaluations(new, old)
    except DifferentClipsError as error:
        raise PromotionError(f"{candidate.uri} and {holder.uri} were evaluated on {error}") from None
    return Comparison(
        candidate=candidate,
        holder=holder,
        **vars(paired),
    )


def promote(
    candidate: ModelVersion,
    alias: str,
    *,
    metric: str = "l1",
    force: bool = False,
    reason: str = "",
    tracking_uri: str | None = None,
) -> str:
    """Point the alias to the version if it beats the one that has it; returns what was found, in a line.

    Raises PromotionError if it does not, unless `force`, which needs a `reason`. The version keeps, as tags, which
    version it replaced, who did it and when, the figures, and the reason.
    """
    if not _ALIAS.fullmatch(alias):
        raise PromotionError(
            f"alias {alias!r}: write letters, digits, _ and -, and neither latest nor v1, v2 and so on, which MLflow "
            "keeps for itself"
        )
    if force and not reason:
        raise PromotionError("a forced promotion needs a reason, which is kept with the version")
    holder = holder_of(candidate.name, alias, tracking_uri=tracking_uri)
    if holder is not None and holder.version == candidate.version:
        raise PromotionError(f"{candidate.uri} is {alias} already")
    found = UNOPPOSED
    if holder is not None:
        try:
            comparison = compare(candidate, holder, tracking_uri=tracking_uri)
            if metric not in comparison.differences:
                raise PromotionError(f"{metric} was not measured of both versions")
            found = _finding(comparison, metric)
            beaten = comparison.verdict(metric) == "better"
        except PromotionError as error:
            found, beaten = str(error), False
        if not beaten and not force:
            raise PromotionError(
                f"{candidate.uri} is not made {alias}: {found}. --force with --reason does it nevertheless"
            )
    tags = promotion_tags(
        alias,
        replaced=holder.version if holder else None,
        finding=found,
        forced=force or None,
        reason=reason or None,
    )
    # Before the alias moves: a version that has it without them could not be rolled back.
    tag_version(candidate, tags, tracking_uri=tracking_uri)
    set_alias(candidate.name, alias, candidate.version, tracking_uri=tracking_uri)
    return found


def roll_back(name: str, alias: str, *, tracking_uri: str | None = None) -> tuple[ModelVersion, ModelVersion]:
    """Give the alias back to the version that its holder replaced; returns (the one it left, the one that has it)."""
    holder = holder_of(name, alias, tracking_uri=tracking_uri)
    if holder is None:
        raise PromotionError(f"{name}: no version is {alias}")
    replaced = holder.tags.get(promotion_tag(alias, "replaced"), "")
    if not replaced.isdecimal():
        raise PromotionError(
            f"{holder.uri} replaced no other version as {alias}: there is none to go back to"
        )
    before = find(f"models:/{name}/{replaced}", tracking_uri=tracking_uri)
    set_alias(name, alias, before.version, tracking_uri=tracking_uri)
    # It has nothing left to undo, should it ever come back.
    undone = {"replaced": None, "rolled_back_by": getpass.getuser(), "rolled_back_at": _now()}
    tag_version(
        holder, {promotion_tag(alias, key): value for key, value in undone.items()}, tracking_uri=tracking_uri
    )
    return holder, before


def holder_of(name: str, alias: str, *, tracking_uri: str | None = None) -> ModelVersion | None:
    """The version that the alias points to, if any."""
    versions = list_versions(name, tracking_uri=tracking_uri)
    return next((version for version in versions if alias in version.aliases), None)


def _beginning(version: ModelVersion) -> str:
    """The model that training began with, and by its digest which files that were."""
    model, digest = (
        version.tags.get(f"{TAG_PREFIX}{name}", "") for name in ("initial_model", "initial_digest")
    )
    return f"{model} ({digest[:12]})" if model else "fresh networks"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _finding(comparison: Comparison, metric: str) -> str:
    difference = comparison.differences[metric].shown(METRICS[metric].digits, sign="+")
    return (
        f"{metric} differs by {difference} from version {comparison.holder.version} on {comparison.extent(metric)}: "
        f"{comparison.verdict(metric)}"
    )


def _evaluation(version: ModelVersion, tracking_uri: str | None) -> Evaluation:
    if version.run_id is None:
        raise PromotionError(f"{version.uri}: no run is known that made it, so no evaluation either")
    run = Run.attach(version.run_id, tracking_uri=tracking_uri)
    if EVALUATION not in run.list_artifacts():
        raise PromotionError(
            f"{version.uri}: its run keeps no evaluation; `lia run` evaluates what it trains, and after `lia train` "
            "`lia evaluate --model RUN --data DIR --record` does"
        )
    with tempfile.TemporaryDirectory() as scratch:
        try:
            evaluation = Evaluation.load(run.download(EVALUATION, Path(scratch)))
        except InputError:
            raise PromotionError(
                f"{version.uri}: the evaluation that its run keeps is damaged or of another release: `lia evaluate "
                "--model RUN --data DIR --record` makes it anew"
            ) from None
    if version.tags.get(DIGEST_TAG) != evaluation.inputs.model_digest:
        raise PromotionError(
            f"{version.uri}: its run's evaluation is of another model: `lia evaluate --model RUN --data DIR --record` "
            "makes it anew"
        )
    return evaluation
