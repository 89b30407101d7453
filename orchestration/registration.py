"""A trained run's model into MLflow's registry, once, whichever verb asks and however often."""

import getpass
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestration import configuration
from orchestration.evaluation.scores import Evaluation
from orchestration.packaging import publish
from orchestration.training.run_folder import RunFolder
from tracking.errors import AbsentError, TrackingError
from tracking.provenance import Provenance
from tracking.registry import ModelVersion, find, list_models, list_versions, set_alias
from tracking.run import Run, flatten

CANDIDATE = "candidate"
CHAMPION = "champion"
DIGEST_TAG = "lia.model_digest"
SCORES = "eval."
"""Begins the tags by which a version says how it scored, on how many clips, of which dataset."""
PROMOTION = "lia.promotion."
"""Tags of a version that has, or had, an alias (which follows): what it replaced, when, who did it, on what grounds."""
UNOPPOSED = "no version had the alias"
CONFIG_TAG = "lia.config"
"""The resolved configuration as JSON, which `--config` replays from a file. MLflow takes tags of 100,000 characters."""


@dataclass(frozen=True)
class Registration:
    """A model in the registry."""

    uri: str
    """models:/NAME/VERSION."""
    first: bool
    """Whether it became `champion` now because no version was."""

    def words(self) -> str:
        """For people."""
        return self.uri + (
            f", and @{CHAMPION} since no version was: it was compared with nothing" if self.first else ""
        )


def register_run(
    folder: RunFolder,
    run: Run,
    *,
    evaluation: Evaluation | None = None,
    example: Mapping[str, bytes] | None = None,
    tags: Mapping[str, object] | None = None,
) -> Registration:
    """Package and register the run's model.

    `tags` go to the version beside provenance and the evaluation's scores. It becomes `candidate`, and `champion` too
    where the model had none so far. A version that holds this very model is returned as it is, also when an earlier
    attempt was killed before it could note its success.
    """
    experiment, record = folder.open()
    digest = folder.model_digest()
    versions = _versions(experiment.name, record.tracking_uri)
    found = next((version for version in versions if version.tags.get(DIGEST_TAG) == digest), None)
    first = not any(CHAMPION in version.aliases for version in versions)
    if found is None:
        found = publish(
            run,
            folder.model,
            name=experiment.name,
            aliases=(CANDIDATE, CHAMPION) if first else (CANDIDATE,),
            tags={
                **Provenance.from_dict(record.provenance).to_tags(),
                **(record.initial.to_tags() if record.initial else {}),
                **(score_tags(evaluation) if evaluation else {}),
                **(promotion_tags(CHAMPION, finding=UNOPPOSED) if first else {}),
                **(tags or {}),
                DIGEST_TAG: digest,
                CONFIG_TAG: json.dumps(configuration.to_dict(experiment)),
            },
            example=example,
            step=folder.finished_step() or 0,
        )
    elif found == versions[-1]:
        _mend_aliases(found, record.tracking_uri, first=first)
    else:
        first = False
    folder.write_json("registered.json", {"uri": found.uri, "model_digest": digest})
    return Registration(found.uri, first)


def score_tags(evaluation: Evaluation) -> dict[str, str]:
    """The tags by which a version says how it scored, and on what."""
    return {
        **{f"{SCORES}{name}": f"{value:.6g}" for name, value in evaluation.summary().items()},
        f"{SCORES}clips": str(len(evaluation.clips)),
        f"{SCORES}dataset_digest": evaluation.inputs.dataset_digest,
    }


def promotion_tag(alias: str, name: str) -> str:
    """The name of one of `promotion_tags`."""
    return f"{PROMOTION}{alias}.{name}"


def promotion_tags(alias: str, **grounds: object) -> dict[str, object]:
    """The tags by which a version says how it came by an alias; those of an earlier time are None: to be removed."""
    empty = dict.fromkeys(("replaced", "forced", "reason", "rolled_back_by", "rolled_back_at"))
    now = {"by": getpass.getuser(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    return {promotion_tag(alias, name): value for name, value in {**empty, **now, **grounds}.items()}


def version_settings(version: ModelVersion) -> dict[str, str]:
    """The configuration that a version keeps, by dotted name; empty if it keeps none."""
    try:
        document = json.loads(version.tags.get(CONFIG_TAG, "{}"))
    except (ValueError, RecursionError):
        return {}
    return flatten(document) if isinstance(document, dict) else {}


def registered_version(folder: RunFolder) -> str | None:
    """The models:/NAME/VERSION that holds the run's model, if it was noted and the store has it. TrackingError."""
    noted = folder.read_json("registered.json")
    _, record = folder.open()
    digest = folder.model_digest()
    if noted.get("model_digest") != digest:
        return None
    try:
        found = find(str(noted["uri"]), tracking_uri=record.tracking_uri)
    except AbsentError:
        return None
    return found.uri if found.tags.get(DIGEST_TAG) == digest else None


@contextmanager
def telling_what_is_made(folder: RunFolder, again: str) -> Iterator[None]:
    """Where the store fails although training is over, have the TrackingError say where the model is.

    `again` is the command that does what is left.
    """
    try:
        yield
    except TrackingError as error:
        if folder.finished_step() is None:
            raise
        noted = folder.read_json("registered.json")
        state = (
            f"registered as {noted['uri']}: {again} does what is left"
            if noted.get("model_digest") == folder.model_digest()
            else f"not registered: {again} registers it"
        )
        raise type(error)(
            f"{error}\nTraining is complete. The model is in {folder.model}, {state} and sends what waits, once the "
            "store takes it."
        ) from error


def _mend_aliases(newest: ModelVersion, tracking_uri: str, *, first: bool) -> None:
    """Give the newest version the aliases that it lacks because its registration was killed half-way."""
    if CANDIDATE not in newest.aliases:
        set_alias(newest.name, CANDIDATE, newest.version, tracking_uri=tracking_uri)
    if first:
        set_alias(newest.name, CHAMPION, newest.version, tracking_uri=tracking_uri)


def _versions(name: str, tracking_uri: str) -> list[ModelVersion]:
    if name not in list_models(tracking_uri=tracking_uri):
        return []
    return list_versions(name, tracking_uri=tracking_uri)
