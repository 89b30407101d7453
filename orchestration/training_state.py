"""A checkpoint: all that the next training step depends on, in one folder that appears whole or not at all.

    generator/config.json, generator/model.safetensors    the same files a published model has
    discriminator.safetensors                              where there is an adversarial term
    optimisers.pt                                          moments and step counts (tensors; weights_only)
    rng.safetensors                                        state of torch's generator, one row a rank
    state.json                                             step, place in the data, config, dataset, provenance

state.json is written last and carries the sha256 of every other file, so a folder without it, or with another
digest, is not a checkpoint.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lia_model.weights import load_generator, load_tensors, save_generator
from orchestration import configuration
from orchestration.experiment import Experiment
from orchestration.training_step import Networks
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_path
from tracking.provenance import digest_file

SCHEMA_VERSION = 1


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


def save_checkpoint(folder: Path, networks: Networks, progress: Progress, rng_states: torch.Tensor) -> None:
    """Write a checkpoint into `folder`, which must be new; `rng_states` is (ranks, bytes) uint8."""
    folder.mkdir(parents=True)
    save_generator(folder / "generator", networks.generator)
    optimisers = {"generator": networks.generator_optimiser.state_dict()}
    if networks.discriminator is not None and networks.discriminator_optimiser is not None:
        save_file(_on_cpu(networks.discriminator.state_dict()), folder / "discriminator.safetensors")
        optimisers["discriminator"] = networks.discriminator_optimiser.state_dict()
    torch.save(optimisers, folder / "optimisers.pt")
    save_file({"rng": rng_states.cpu()}, folder / "rng.safetensors")
    state = {"schema_version": SCHEMA_VERSION, **progress.__dict__, "files": _digests(folder)}
    with atomic_path(folder / "state.json") as partial:
        partial.write_text(json.dumps(state, indent=2), encoding="utf-8")


def read_progress(folder: Path) -> Progress:
    """Where the checkpoint stands. DamagedCheckpointError unless every file is there with its recorded digest."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        schema, recorded = state.pop("schema_version"), dict(state.pop("files"))
        progress = Progress(**state)
        if type(progress.step) is not int or progress.step < 0:
            raise ValueError(f"step = {progress.step!r}")
    except FileNotFoundError:
        raise DamagedCheckpointError(f"{folder}: not a checkpoint: it has no state.json") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedCheckpointError(f"{folder}/state.json: unreadable: {error}") from error
    if schema != SCHEMA_VERSION:
        raise CheckpointError(f"{folder}: checkpoint schema {schema}, this version reads {SCHEMA_VERSION}")
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
    for what, a, b in (
        ("dataset digest", there.dataset_digest, origin.dataset_digest),
        ("number of workers", there.world_size, world_size),
        *((section, found[section], wanted[section]) for section in wanted),
    ):
        if a != b:
            raise CheckpointError(f"{folder}: was made with another {what} ({a}, now {b}); start a new run")


def restore_checkpoint(folder: Path, networks: Networks, rank: int) -> Progress:
    """Load a checkpoint into existing networks and optimisers and torch's generator; returns where it stands."""
    progress = read_progress(folder)
    stored = load_generator(folder / "generator")
    if stored.config != networks.generator.config:
        raise CheckpointError(
            f"{folder}: holds a model with {stored.config}, the experiment asks for {networks.generator.config}"
        )
    networks.generator.load_state_dict(stored.state_dict())
    optimisers = torch.load(folder / "optimisers.pt", weights_only=True, map_location="cpu")
    networks.generator_optimiser.load_state_dict(optimisers["generator"])
    if networks.discriminator is not None and networks.discriminator_optimiser is not None:
        if "discriminator" not in optimisers:
            raise CheckpointError(f"{folder}: was trained without a discriminator, the experiment has one")
        path = folder / "discriminator.safetensors"
        load_tensors(networks.discriminator, load_file(path), str(path))
        networks.discriminator_optimiser.load_state_dict(optimisers["discriminator"])
    rng_states = load_file(folder / "rng.safetensors")["rng"]
    if rank < len(rng_states):
        torch.set_rng_state(rng_states[rank].clone())  # torch ignores where a view begins
    return progress


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` but state.json, by relative path."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("state.json")
    )
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


def _on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
