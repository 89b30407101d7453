"""A trained run's model into MLflow's registry, once, whichever verb asks and however often."""

from collections.abc import Mapping

from orchestration.packaging import publish
from orchestration.run_folder import RunFolder
from tracking.registry import ModelVersion, list_models, list_versions
from tracking.run import Run

CANDIDATE = "candidate"
CHAMPION = "champion"
DIGEST_TAG = "lia.model_digest"


def register_run(
    folder: RunFolder,
    run: Run,
    *,
    scores: Mapping[str, float] | None = None,
    example: Mapping[str, bytes] | None = None,
) -> str:
    """Package and register the run's model; returns models:/NAME/VERSION.

    The version becomes `candidate`, and `champion` too where the model had none so far. A version that holds this
    very model is returned as it is, also when an earlier attempt was killed before it could note its success.
    """
    experiment, record = folder.open()
    digest = folder.model_digest()
    versions = _versions(experiment.name, record.tracking_uri)
    found = next((version for version in versions if version.tags.get(DIGEST_TAG) == digest), None)
    if found is None:
        champion = any(CHAMPION in version.aliases for version in versions)
        found = publish(
            run,
            folder.model,
            name=experiment.name,
            aliases=(CANDIDATE,) if champion else (CANDIDATE, CHAMPION),
            tags={
                **{f"lia.{name}": value for name, value in record.provenance.items()},
                **{f"eval.{name}": f"{value:.6g}" for name, value in (scores or {}).items()},
                DIGEST_TAG: digest,
            },
            example=example,
            step=folder.finished_step() or 0,
        )
    folder.write_json("registered.json", {"uri": found.uri, "model_digest": digest})
    return found.uri


def _versions(name: str, tracking_uri: str) -> list[ModelVersion]:
    if name not in list_models(tracking_uri=tracking_uri):
        return []
    return list_versions(name, tracking_uri=tracking_uri)
