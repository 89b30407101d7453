"""The model that training begins with, where it does not begin afresh: read, adapted, kept in the run's folder."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from lia_model import published, weights
from lia_model.adaptation import adapt_generator
from lia_model.config import LiaConfig
from lia_model.discriminator import Discriminator
from lia_model.generator import Generator
from lia_model.weights import WeightsError, load_generator, load_tensors, save_generator
from orchestration.experiment import Experiment
from orchestration.models import URI_SCHEMES, local_model, model_digest, read_model
from pipelines.storage.atomic import atomic_path
from tracking.provenance import digest_file

DISCRIMINATOR = "discriminator.safetensors"
_GENERATOR_FILES = (weights.CONFIG_FILE, weights.WEIGHTS_FILE)


@dataclass(frozen=True, kw_only=True)
class InitialModel:
    """Networks of the experiment's sizes that know what another model has learned."""

    reference: str
    """The model as the user named it; a path is absolute."""
    digest: str
    """sha256 of that model's files."""
    generator: Generator
    discriminator: Discriminator | None
    """Of a published checkpoint that has one of the experiment's sizes; otherwise it begins afresh."""


def read_initial_model(reference: str, experiment: Experiment) -> InitialModel:
    """The model that `reference` names (see `orchestration.models.local_model`), adapted to the experiment.

    Raises InputError, or WeightsError where it cannot be read or has sizes that do not go with the experiment's.
    """
    path = local_model(reference)
    found = read_model(path)
    try:
        generator = adapt_generator(found, experiment.model, seed=experiment.schedule.seed)
    except WeightsError as error:
        raise WeightsError(f"{reference}: {error}") from None
    return InitialModel(
        reference=reference if reference.startswith(URI_SCHEMES) else str(path),
        digest=model_digest(path),
        generator=generator,
        discriminator=_discriminator(path, experiment),
    )


def save_initial_model(folder: Path, model: InitialModel) -> str:
    """Write the networks to a run's folder; returns their digest. What was there before is written over."""
    save_generator(folder, model.generator)
    if model.discriminator is not None:
        with atomic_path(folder / DISCRIMINATOR) as partial:
            save_file(model.discriminator.state_dict(), partial)
    else:
        (folder / DISCRIMINATOR).unlink(missing_ok=True)
    digest = digest_initial_model(folder)
    assert digest is not None
    return digest


def load_initial_model(folder: Path) -> tuple[Generator, Discriminator | None]:
    """What `save_initial_model` wrote. Raises WeightsError."""
    generator = load_generator(folder)
    path = folder / DISCRIMINATOR
    if not path.is_file():
        return generator, None
    discriminator = Discriminator(generator.config)
    load_tensors(discriminator, load_file(path), str(path))
    return generator, discriminator


def digest_initial_model(folder: Path) -> str | None:
    """sha256 over the networks in `folder`; None where a file is missing."""
    files = [folder / name for name in _GENERATOR_FILES]
    if not all(file.is_file() for file in files):
        return None
    return digest_file(*files, *(file for file in [folder / DISCRIMINATOR] if file.is_file()))


def _discriminator(path: Path, experiment: Experiment) -> Discriminator | None:
    if experiment.loss.adversarial == 0 or path.is_dir() or not published.holds_discriminator(path):
        return None
    found = published.load_discriminator(path)
    if _channels(found.config) != _channels(experiment.model):
        return None
    discriminator = Discriminator(experiment.model)
    discriminator.load_state_dict(found.state_dict())
    return discriminator


def _channels(config: LiaConfig) -> dict[int, int]:
    """Channels by resolution: all that shapes a discriminator."""
    return {resolution: config.channels(resolution) for resolution in (4, *config.resolutions())}
