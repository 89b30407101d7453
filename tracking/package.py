"""A trained generator as an MLflow model that animates: image and video bytes in, mp4 bytes out.

"Models from code": the package holds the script that defines the model, the modules it imports, the weights
as safetensors and exact requirements. Nothing is pickled, and whoever has the package needs neither this
repository nor its other dependencies.
"""

import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tracking.errors import TrackingError, naming_store
from tracking.quiet import quiet_mlflow
from tracking.run import Run

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MODEL_PROJECTS = ("mlflow", "torch", "numpy", "pandas", "safetensors", "av", "pillow")
"""What the packaged code imports. All of MLflow: mlflow-skinny cannot look a model up in a SQLite store."""
MODES = ("absolute", "relative")


def log_model(
    run: Run,
    *,
    name: str,
    generator: Path,
    script: Path,
    code_paths: Sequence[Path],
    example: Mapping[str, bytes],
    tags: Mapping[str, object] | None = None,
    step: int = 0,
) -> str:
    """Log a packaged model as an output of the run and return its id (its address is models:/ID).

    `generator` holds config.json and model.safetensors; `script` calls `mlflow.models.set_model`;
    `code_paths` are the packages it imports, each importable under its own name; `example` has a small
    "source" and "driving". Takes about a second: with requirements and signature given, MLflow need not load
    the model in a second process to find them out. `tracking.registry.register` takes the id.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    shown = {key: str(value) for key, value in (tags or {}).items() if value is not None}
    with naming_store(run.tracking_uri):
        logged = run.client.create_logged_model(
            run.experiment_id, name=name, source_run_id=run.run_id, tags=shown, model_type="animator"
        )
        status: Literal["READY", "FAILED"] = "FAILED"
        try:
            with tempfile.TemporaryDirectory(prefix="lia-model-") as temporary:
                packaged = Path(temporary) / "model"
                description = Model(
                    artifact_path=logged.artifact_location,
                    run_id=run.run_id,
                    model_uuid=logged.model_id,
                    model_id=logged.model_id,
                )
                save_model(
                    packaged,
                    generator=generator,
                    script=script,
                    code_paths=code_paths,
                    example=example,
                    mlflow_model=description,
                )
                run.client.log_model_artifacts(logged.model_id, str(packaged))
            status = "READY"
        finally:
            run.client.finalize_logged_model(logged.model_id, status)
        run.client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=step)])
    return str(logged.model_id)


def save_model(
    path: Path,
    *,
    generator: Path,
    script: Path,
    code_paths: Sequence[Path],
    example: Mapping[str, bytes],
    mlflow_model: Any = None,
) -> None:
    """Write a packaged model to a new folder; `log_model` explains the arguments."""
    import pandas as pd

    with quiet_mlflow():
        from mlflow import pyfunc

        pyfunc.save_model(
            path=str(path),
            mlflow_model=mlflow_model,
            python_model=str(script),
            artifacts={"generator": str(generator.absolute())},
            code_paths=[str(code) for code in code_paths],
            signature=animation_signature(),
            input_example=(pd.DataFrame([dict(example)]), {"mode": MODES[0]}),
            pip_requirements=pinned_requirements(MODEL_PROJECTS),
        )


def animation_signature() -> "ModelSignature":
    """A row has the bytes of an image `source` and a video `driving`; its answer those of an mp4 `video`."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "source"), ColSpec(DataType.binary, "driving")]),
        outputs=Schema([ColSpec(DataType.binary, "video")]),
        params=ParamSchema([ParamSpec("mode", DataType.string, default=MODES[0])]),
    )


def pinned_requirements(projects: Sequence[str]) -> list[str]:
    """`name==release` of what is installed here. A build's local part (torch 2.13.0+cpu) is dropped: indexes
    offer the release, and each machine gets the build that fits it.
    """
    try:
        return [f"{project}=={version(project).partition('+')[0]}" for project in projects]
    except PackageNotFoundError as error:
        raise TrackingError(
            f"{error.name}: not installed, but packaged models need it. Install it."
        ) from error
