"""Which model a user means: a folder, a published checkpoint, or a URI of MLflow's registry."""

from pathlib import Path

from lia_model import published, weights
from lia_model.generator import Generator
from orchestration.devices import best_device
from pipelines.errors import InputError

URI_SCHEMES = ("models:/", "runs:/")


def load_model(reference: str) -> Generator:
    """The generator that `reference` names, ready for inference on the best device at hand.

    A folder with config.json and model.safetensors (or a run's folder, whose `model` it is), a checkpoint file of
    the published implementation, or `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID/model`.
    Raises WeightsError or InputError.
    """
    if reference.startswith(URI_SCHEMES):
        from tracking.registry import generator_folder, resolve

        generator = weights.load_generator(generator_folder(resolve(reference)))
    else:
        generator = _load_local(Path(reference))
    return generator.eval().requires_grad_(False).to(best_device())


def _load_local(path: Path) -> Generator:
    if path.is_dir():
        inner = path / "model"
        return weights.load_generator(inner if (inner / weights.CONFIG_FILE).is_file() else path)
    if not path.exists():
        raise InputError(
            f"{path}: there is no such model; give a folder, a published checkpoint, or a URI such as "
            "models:/lia-demo@candidate"
        )
    return published.load_generator(path)
