"""A checkpoint: all that the next training step depends on, in one folder that appears whole or not at all.

    generator/config.json, generator/model.safetensors    the same files a published model has
    average/config.json, average/model.safetensors         the generator's moving average, where one is kept
    discriminator.safetensors                              where there is an adversarial term
    optimisers.pt                                          moments and step counts (tensors; weights_only)
    rng.safetensors                                        state of torch's generator, one row a rank
    state.json                                             step, place in the data, scores, config, dataset, provenance

state.json is written last and carries the sha256 of every other file and of its own content, so a folder without it, or
with another digest, is not a checkpoint.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lia_model.config import LiaConfig
from lia_model.weights import load_generator, load_tensors, save_tensors
from orchestration import configuration
from orchestration.experiment import Experiment
from orchestration.training.step import Networks
from pipelines.dataset.editions import WHOLE
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_folder, atomic_path
from tracking.provenance import digest_config, digest_file

SCHEMA_VERSION = 2
GENERATOR, AVERAGE, DISCRIMINATOR = "generator", "average", "discriminator.safetensors"


class CheckpointError(InputError):
    """A checkpoint folder is incomplete, damaged, or belongs to another model or dataset."""


class DamagedCheckpointError(CheckpointError):
    """Files of a checkpoint are missing or not as they were written."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands, and what it is a run of."""

    step: int
    """Steps done."""
    pairs_seen: int
    """Pairs drawn from the data by all ranks together: the next batch starts there."""
    epoch: int
    """Times the whole dataset was gone through."""
    edition: int = WHOLE
    """What there was then of a dataset that grows, and is gone on with."""
    validation: dict[str, float] = field(default_factory=dict)
    """Scores on held-out pairs at this step, if it was validated."""
    config: dict[str, Any]
    """The resolved experiment."""
    dataset_digest: str
    world_size: int
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a checkpoint says about the data and the code it came from."""

    dataset_digest: str
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A copy, in the processor's memory, of all that the next step depends on: training goes on while it is written."""

    progress: Progress
    model: LiaConfig
    generator: dict[str, Tensor]
    average: dict[str, Tensor] | None
    discriminator: dict[str, Tensor] | None
    optimisers: dict[str, Any]
    rng_states: Tensor
    """(ranks, bytes) uint8."""

    @classmethod
    def take(cls, networks: Networks, progress: Progress, rng_states: Tensor) -> Self:
        """Copy the networks as they are now."""
        optimisers = {"generator": networks.generator_optimiser.state_dict()}
        if networks.discriminator_optimiser is not None:
            optimisers["discriminator"] = networks.discriminator_optimiser.state_dict()
        average, discriminator = networks.average, networks.discriminator
        snapshot = cls(
            progress=progress,
            model=networks.generator.config,
            generator=_copied(networks.generator.state_dict()),
            average=_copied(average.state_dict()) if average is not None else None,
            discriminator=_copied(discriminator.state_dict()) if discriminator is not None else None,
            optimisers=_copied(optimisers),
            rng_states=rng_states.cpu(),
        )
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # copies from a GPU are only under way until then
        return snapshot

    def write(self, folder: Path) -> None:
        """Write the checkpoint to `folder`, which must be new; it appears whole or not at all."""
        with atomic_folder(folder) as partial:
            save_tensors(partial / GENERATOR, self.model, self.generator)
            if self.average is not None:
                save_tensors(partial / AVERAGE, self.model, self.average)
            if self.discriminator is not None:
                save_file(self.discriminator, partial / DISCRIMINATOR)
            with (partial / "optimisers.pt").open("wb") as file:  # by name, torch would not say why it failed
                torch.save(self.optimisers, file)
            save_file({"rng": self.rng_states}, partial / "rng.safetensors")
            state = {"schema_version": SCHEMA_VERSION, **self.progress.__dict__, "files": _digests(partial)}
            signed = {**state, "digest": digest_config(state)}
            with atomic_path(partial / "state.json") as text:
                text.write_text(json.dumps(signed, indent=2), encoding="utf-8")


def read_state(folder: Path) -> tuple[Progress, dict[str, str]]:
    """Where the checkpoint says it stands, and the digests of its files, unchecked. DamagedCheckpointError."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        # Checkpoints of earlier days have none.
        if (recorded := state.pop("digest", None)) and recorded != digest_config(state):
            raise ValueError("its content is not what was written")
        schema, files = state.pop("schema_version"), dict(state.pop("files"))
        if schema != SCHEMA_VERSION:
            raise CheckpointError(
                f"{folder}: checkpoint schema {schema}, this version reads {SCHEMA_VERSION}; start a new run"
            )
        progress = Progress(**state)
        if type(progress.step) is not int or progress.step < 0:
            raise ValueError(f"step = {progress.step!r}")
        if type(progress.edition) is not int or progress.edition < WHOLE:
            raise ValueError(f"edition = {progress.edition!r}")
        if not all(isinstance(score, int | float) for score in dict(progress.validation).values()):
            raise ValueError(f"validation = {progress.validation!r}")
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedCheckpointError(f"{folder}: not a checkpoint: it has no state.json") from None
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, IsADirectoryError) as error:
        raise DamagedCheckpointError(f"{folder}/state.json: unreadable: {error}") from error
    return progress, files


def read_progress(folder: Path) -> Progress:
    """Where the checkpoint stands. DamagedCheckpointError unless every file is there with its recorded digest."""
    progress, recorded = read_state(folder)
    if recorded != (found := _digests(folder)):
        damaged = sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name))
        raise DamagedCheckpointError(
            f"{folder}/{damaged[0]}: missing or damaged (its sha256 is not that of state.json)"
        )
    return progress


def require_same_run(
    folder: Path, there: Progress, experiment: Experiment, origin: Origin, world_size: int
) -> None:
    """CheckpointError if going on from `folder` would not be the same run (more steps are no difference)."""
    wanted = experiment.content()
    found = configuration.experiment_from_dict(there.config, origin=str(folder / "state.json")).content()
    found["schedule"]["steps"] = wanted["schedule"]["steps"]
    same_ranks = there.world_size if experiment.schedule.elastic else world_size
    for what, a, b in (
        ("dataset digest", there.dataset_digest, origin.dataset_digest),
        ("number of workers", there.world_size, same_ranks),
        *((section, found[section], wanted[section]) for section in wanted),
    ):
        if a != b:
            raise CheckpointError(f"{folder}: was made with another {what} ({a}, now {b}); start a new run")


def restore_checkpoint(folder: Path, networks: Networks, rank: int) -> Progress:
    """Load a checkpoint into existing networks and optimisers and torch's generator; returns where it stands."""
    progress = read_progress(folder)
    stored = load_generator(folder / GENERATOR)
    if stored.config != networks.generator.config:
        raise CheckpointError(
            f"{folder}: holds a model with {stored.config}, the experiment asks for {networks.generator.config}"
        )
    networks.generator.load_state_dict(stored.state_dict())
    if networks.average is not None:
        if not (folder / AVERAGE).is_dir():
            raise CheckpointError(f"{folder}: was trained without a moving average, the experiment has one")
        networks.average.load_state_dict(load_generator(folder / AVERAGE).state_dict())
    optimisers = torch.load(folder / "optimisers.pt", weights_only=True, map_location="cpu")
    _restore_optimiser(networks.generator_optimiser, optimisers["generator"])
    if networks.discriminator is not None and networks.discriminator_optimiser is not None:
        if "discriminator" not in optimisers:
            raise CheckpointError(f"{folder}: was trained without a discriminator, the experiment has one")
        path = folder / DISCRIMINATOR
        load_tensors(networks.discriminator, load_file(path), str(path))
        _restore_optimiser(networks.discriminator_optimiser, optimisers["discriminator"])
    rng_states = load_file(folder / "rng.safetensors")["rng"]
    if rank < len(rng_states):
        torch.set_rng_state(rng_states[rank].clone())  # torch ignores where a view begins
    return progress


def _restore_optimiser(optimiser: torch.optim.Adam, state: dict[str, Any]) -> None:
    optimiser.load_state_dict(state)
    for weight, moments in optimiser.state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            # Fused Adam goes through memory as it lies, and weights may have their channels innermost.
            moments[name] = torch.empty_like(weight).copy_(moments[name])


def model_folder(folder: Path) -> Path:
    """Where a checkpoint holds the generator that is the run's result: the moving average if there is one."""
    return folder / AVERAGE if (folder / AVERAGE).is_dir() else folder / GENERATOR


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` but state.json, by relative path."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((".", "state.json"))
    )
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


def _copied(tree: Any) -> Any:
    """Nested dicts and lists with their tensors copied to the processor's memory."""
    if isinstance(tree, Tensor):
        tensor = tree.detach()
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        return copy.copy_(tensor, non_blocking=True)
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_copied(value) for value in tree]
    return tree
