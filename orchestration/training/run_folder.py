"""The folder of one training run: what it was asked, where it is recorded, what it has made.

config.json      the resolved experiment, which `--config` replays
run.json         MLflow run, dataset, weights of the perceptual term, provenance
initial/         the networks that training begins with, where a model was given
checkpoints/     step-00000250/ ..., the newest ones and the best
ray/             Ray Train's own state
unsent/          metrics and pictures on their way to MLflow, while there are any
model/           the trained generator: config.json, model.safetensors
finished.json    the step reached and the model's digest; written when training is over
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestration import configuration
from orchestration.experiment import Experiment
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_path
from pipelines.storage.new_folder import require_makeable
from tracking.errors import without_credentials
from tracking.provenance import TAG_PREFIX, digest_file
from tracking.store import restore_credentials


def steps_in(checkpoints: Path) -> list[int]:
    """Steps of which there is a folder `step-00000250`, lowest first."""
    return sorted(int(path.name[5:]) for path in checkpoints.glob("step-" + "[0-9]" * 8))


class RunFolderError(InputError):
    """A run's folder is missing, damaged, or holds another run."""


@dataclass(frozen=True, kw_only=True)
class InitialRecord:
    """The model that a run began with."""

    model: str
    """Absolute path, or URI of MLflow's registry."""
    digest: str
    """sha256 of that model's files."""
    adapted_digest: str
    """sha256 of what was made of it and lies in `initial`."""

    def to_tags(self) -> dict[str, str]:
        """As tags of a run or a model version."""
        return {f"{TAG_PREFIX}initial_model": self.model, f"{TAG_PREFIX}initial_digest": self.digest}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run must remember to go on."""

    run_id: str
    """The MLflow run."""
    tracking_uri: str
    """The store that holds it. On disk it goes without user name and password."""
    dataset: str
    """Absolute path or URI of the dataset."""
    dataset_digest: str
    """Of its clips and frames; where it grows, of the plan that says which these are to be."""
    perceptual_weights: str | None
    """Absolute path of the VGG weights, if the loss uses any."""
    perceptual_sha256: str | None
    """Digest of that file: with other weights it would be another run."""
    provenance: dict[str, Any]
    initial: InitialRecord | None = None
    """Where training began, if not with fresh networks."""
    grows: bool = False
    """Whether training began before the dataset was whole."""


@dataclass(frozen=True)
class RunFolder:
    """A training run on disk."""

    path: Path

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def initial(self) -> Path:
        return self.path / "initial"

    @property
    def unsent(self) -> Path:
        return self.path / "unsent"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint_steps(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first; they may be damaged."""
        return steps_in(self.checkpoints)

    def create(self, experiment: Experiment, record: RunRecord) -> None:
        """Begin a run here. Raises RunFolderError when the folder holds one already."""
        self.require_new()
        self.make()
        configuration.save(experiment, self.path / "config.json")
        self.keep(record)

    def keep(self, record: RunRecord) -> None:
        """Write the run's record, or write it anew."""
        safe = replace(record, tracking_uri=without_credentials(record.tracking_uri))
        self.write_json("run.json", asdict(safe))

    def make(self) -> None:
        """Make the folder and a place for checkpoints in it. Raises RunFolderError where that is not allowed."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"{self.path}: cannot be written to ({error.strerror}); name another folder for the run"
            ) from error

    def require_new(self) -> None:
        """Raise InputError unless a run can begin here."""
        require_makeable(self.path)
        if self.exists():
            raise RunFolderError(
                f"{self.path}: holds a run already; --resume goes on with it, another --out starts a new one"
            )

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "run.json").is_file()

    def open(self) -> tuple[Experiment, RunRecord]:
        """The run's experiment and record. Raises RunFolderError."""
        record = self.record()
        return configuration.load_experiment(self.path / "config.json"), record

    def record(self) -> RunRecord:
        """The record alone, also of a run whose configuration is of another release. Raises RunFolderError."""
        if not self.exists():
            raise RunFolderError(f"{self.path}: holds no run (no run.json); start one without --resume")
        from pydantic import TypeAdapter, ValidationError

        try:
            record = TypeAdapter(RunRecord).validate_python(self.read_json("run.json"))
        except ValidationError as error:
            first = error.errors()[0]
            raise RunFolderError(
                f"{self.path}/run.json: not a run's record: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            ) from None
        return replace(record, tracking_uri=restore_credentials(record.tracking_uri))

    def finished_step(self) -> int | None:
        """The last step of a training that is over and whose model is as it was left; None otherwise."""
        document = self.read_json("finished.json")
        step = document.get("step")
        if not isinstance(step, int) or document.get("model_digest") != self.model_digest():
            return None
        return step

    def finish(self, step: int) -> None:
        """Note that training is over."""
        self.write_json("finished.json", {"step": step, "model_digest": self.model_digest()})

    def model_digest(self) -> str | None:
        """sha256 over the trained model's two files; None before there is one."""
        try:
            return digest_file(self.model / "config.json", self.model / "model.safetensors")
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object kept in this folder; empty where there is none."""
        try:
            document = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(
                f"{self.path / name}: unreadable ({error}); delete it to start over"
            ) from error
        return document if isinstance(document, dict) else {}

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        """Keep a JSON object in this folder; it appears whole or not at all."""
        with atomic_path(self.path / name) as partial:
            partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
