"""Which model a user means: a folder, a published checkpoint, or a URI of MLflow's registry."""

from pathlib import Path

from lia_model import published, weights
from lia_model.generator import Generator
from orchestration.devices import best_device
from pipelines.errors import InputError
from tracking.provenance import digest_file

URI_SCHEMES = ("models:/", "runs:/")


def load_model(reference: str) -> Generator:
    """The generator that `reference` names, ready for inference on the best device at hand.

    See `local_model` for what a reference may be. Raises WeightsError or InputError.
    """
    return read_model(local_model(reference)).eval().requires_grad_(False).to(best_device())


def local_model(reference: str) -> Path:
    """The absolute path of the model that `reference` names, downloaded if need be.

    A folder with config.json and model.safetensors (or a run's folder, whose `model` it is, or one of a run's
    checkpoints), a checkpoint file of the published implementation, or `models:/NAME@ALIAS`, `models:/NAME/VERSION`,
    `runs:/RUN_ID/NAME`.
    """
    if reference.startswith(URI_SCHEMES):
        from tracking.registry import generator_folder, resolve

        return generator_folder(resolve(reference)).absolute()
    path = Path(reference).absolute()
    if not path.exists():
        raise InputError(
            f"{reference}: there is no such model; give a folder, a published checkpoint, or a URI such as "
            "models:/lia-demo@candidate"
        )
    if (path / "run.json").is_file():
        if not (path / "model" / weights.CONFIG_FILE).is_file():
            raise InputError(
                f"{reference}: this run has no model yet; `lia train --resume --out {reference}` goes on"
            )
        return path / "model"
    if (path / "state.json").is_file():
        from orchestration.training.checkpoint import model_folder

        return model_folder(path)
    return path


def read_model(path: Path) -> Generator:
    """The generator in a model folder or a published checkpoint, on the CPU. Raises WeightsError."""
    return weights.load_generator(path) if path.is_dir() else published.load_generator(path)


def model_digest(path: Path) -> str:
    """sha256 of a model folder's two files, as the registry's tag has it, or of a checkpoint's file.

    Raises InputError if one is absent.
    """
    files = [path / name for name in (weights.CONFIG_FILE, weights.WEIGHTS_FILE)] if path.is_dir() else [path]
    for file in files:
        if not file.is_file():
            raise InputError(
                f"{file}: no such file; a model folder holds {weights.CONFIG_FILE} and {weights.WEIGHTS_FILE}"
            )
    return digest_file(*files)
