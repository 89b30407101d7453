"""Registered models: names with versions, and aliases (such as "champion") that move between them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracking.errors import TrackingError, naming_store
from tracking.quiet import quiet_mlflow
from tracking.store import connect, resolve_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_ID_TAG = "lia.model_id"
"""MLflow's SQL registry forgets which logged model a version was made from."""
_OTHER_STORE = "correct the address, or set MLFLOW_TRACKING_URI to the store that has it."
MODEL_URI_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, models:/MODEL_ID or runs:/RUN_ID/NAME"
VERSION_URI_FORMS = "models:/NAME@ALIAS or models:/NAME/VERSION"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    """The registered model."""
    version: int
    """Counts from 1."""
    aliases: tuple[str, ...]
    """Aliases that point to this version."""
    run_id: str | None
    """The run that logged it."""
    model_id: str | None
    """The logged model it was made from."""
    tags: Mapping[str, str]
    """Provenance and evaluation figures, as text."""
    created_ms: int
    """When it was registered, in milliseconds since 1970."""

    @property
    def uri(self) -> str:
        """What MLflow loads this very version by."""
        return f"models:/{self.name}/{self.version}"


def register(
    name: str,
    model_id: str,
    *,
    aliases: tuple[str, ...] = (),
    tags: Mapping[str, object] | None = None,
    tracking_uri: str | None = None,
) -> ModelVersion:
    """Make a logged model the next version of `name` (created if it is new) and point `aliases` to it."""
    from mlflow.exceptions import MlflowException

    uri = resolve_tracking_uri(tracking_uri)
    client = connect(uri)
    with naming_store(uri), quiet_mlflow():
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        logged = client.get_logged_model(model_id)
        shown = {key: str(value) for key, value in (tags or {}).items() if value is not None}
        # Its location rather than models:/ID, which MLflow would look up in its process-wide store.
        created = client.create_model_version(
            name,
            source=logged.artifact_location,
            run_id=logged.source_run_id,
            model_id=model_id,
            tags={**shown, MODEL_ID_TAG: model_id},
        )
        _link(client, logged, created)
        for alias in aliases:
            client.set_registered_model_alias(name, alias, created.version)
        return _described(client.get_model_version(name, created.version))


def set_alias(name: str, alias: str, version: int, *, tracking_uri: str | None = None) -> None:
    """Point `alias` to a version; it leaves the version that had it."""
    uri = resolve_tracking_uri(tracking_uri)
    client = connect(uri)
    with naming_store(uri):
        client.set_registered_model_alias(name, alias, str(version))


def tag_version(
    version: ModelVersion, tags: Mapping[str, object], *, tracking_uri: str | None = None
) -> None:
    """Set or overwrite tags of a version; those that are None are removed."""
    uri = resolve_tracking_uri(tracking_uri)
    client = connect(uri)
    with naming_store(uri):
        for key, value in tags.items():
            if value is not None:
                client.set_model_version_tag(version.name, str(version.version), key, str(value))
            elif key in version.tags:
                client.delete_model_version_tag(version.name, str(version.version), key)


def list_models(*, tracking_uri: str | None = None) -> list[str]:
    """The names of all registered models."""
    uri = resolve_tracking_uri(tracking_uri)
    client = connect(uri, create=False)
    with naming_store(uri):
        return sorted(model.name for model in _all_pages(client.search_registered_models))


def list_versions(name: str, *, tracking_uri: str | None = None) -> list[ModelVersion]:
    """All versions of a model, oldest first."""
    uri = resolve_tracking_uri(tracking_uri)
    client = connect(uri, create=False)
    with naming_store(uri):
        client.get_registered_model(name)  # an unknown name is an error, not an empty list
        found = _all_pages(client.search_model_versions, filter_string=f"name = '{_quoted(name)}'")
        # Search results may come without aliases.
        versions = [_described(client.get_model_version(name, version.version)) for version in found]
    return sorted(versions, key=lambda version: version.version)


def find(model_uri: str, *, tracking_uri: str | None = None) -> ModelVersion:
    """The registered version that models:/NAME@ALIAS or models:/NAME/VERSION means."""
    uri = resolve_tracking_uri(tracking_uri)
    client = connect(uri, create=False)
    with naming_store(uri, _OTHER_STORE):
        return _described(_registered(client, model_uri, VERSION_URI_FORMS))


def resolve(model_uri: str, *, to: Path | None = None, tracking_uri: str | None = None) -> Path:
    """A local folder with a packaged model: its own place where that is local, else a copy below `to`.

    `model_uri` is models:/NAME@ALIAS, models:/NAME/VERSION, models:/MODEL_ID or runs:/RUN_ID/NAME. (MLflow's
    `download_artifacts` would look the first two up in the process-wide store, whatever it is passed.)
    """
    from mlflow.artifacts import download_artifacts

    uri = resolve_tracking_uri(tracking_uri)
    client = connect(uri, create=False)
    with naming_store(uri, _OTHER_STORE):
        location = _location(client, model_uri)
        folder = download_artifacts(
            artifact_uri=location, dst_path=None if to is None else str(to), tracking_uri=uri
        )
    return Path(folder)


def generator_folder(model_folder: Path) -> Path:
    """Where a packaged model (a folder that `resolve` returned) keeps config.json and model.safetensors."""
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        flavour = Model.load(str(model_folder)).flavors["python_function"]
        return model_folder / str(flavour["artifacts"]["generator"]["path"])
    except (MlflowException, OSError, KeyError) as error:
        raise TrackingError(f"{model_folder}: not a model packaged by this platform") from error


def _location(client: "MlflowClient", model_uri: str) -> str:
    """Where the artefacts of a model are."""
    if found := re.fullmatch(r"models:/(m-[0-9a-f]+)", model_uri):
        return str(client.get_logged_model(found[1]).artifact_location)
    if found := re.fullmatch(r"runs:/([^/]+)/(.+)", model_uri):
        outputs = client.get_run(found[1]).outputs
        models = (
            [client.get_logged_model(output.model_id) for output in outputs.model_outputs] if outputs else []
        )
        named = [model.artifact_location for model in models if model.name == found[2]]
        if not named:
            raise TrackingError(f"{model_uri}: the run logged no model of that name")
        return str(named[-1])
    registered = _registered(client, model_uri, MODEL_URI_FORMS)
    return str(client.get_model_version_download_uri(registered.name, registered.version))


def _registered(client: "MlflowClient", model_uri: str, forms: str) -> Any:
    """The registered version; `forms` are those of an address that the caller takes."""
    if found := re.fullmatch(r"models:/([^/@]+)@([^/@]+)", model_uri):
        return client.get_model_version_by_alias(found[1], found[2])
    if found := re.fullmatch(r"models:/([^/@]+)/(\d+)", model_uri):
        return client.get_model_version(found[1], found[2])
    raise TrackingError(f"{model_uri}: not a model's address; write {forms}")


def _link(client: "MlflowClient", logged: Any, version: Any) -> None:
    """Have MLflow's page of the logged model lead to the registered version."""
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    versions = json.loads(logged.tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    versions.append({"name": version.name, "version": version.version})
    client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(versions)})


def _described(version: Any) -> ModelVersion:
    return ModelVersion(
        name=version.name,
        version=int(version.version),
        aliases=tuple(sorted(version.aliases)),
        run_id=version.run_id or None,
        model_id=version.model_id or version.tags.get(MODEL_ID_TAG),
        tags=dict(version.tags),
        created_ms=int(version.creation_timestamp),
    )


def _all_pages(search: Any, **arguments: str) -> list[Any]:
    page = search(**arguments)
    found = list(page)
    while page.token:
        page = search(page_token=page.token, **arguments)
        found += page
    return found


def _quoted(name: str) -> str:
    if "'" in name:
        raise TrackingError(f"{name}: a model's name cannot hold a quotation mark")
    return name
