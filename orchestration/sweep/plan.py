"""What a sweep is asked to do, as it is kept in its folder, and the folder itself.

OUT/NAME/
    sweep.json    this plan
    optuna.db     the study, unless --storage names another place
    trial-0003/   the run of trial 3, as `lia train` leaves it
    pictures/     what was found
    report.html
"""

import fcntl
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from orchestration import configuration
from orchestration.experiment import Experiment
from orchestration.sweep.space import Space, read_space
from orchestration.training.run_folder import RunFolder
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_path
from pipelines.storage.new_folder import require_makeable
from tracking.errors import without_credentials
from tracking.store import restore_credentials

Sampler = Literal["tpe", "random"]
Pruner = Literal["asha", "median", "none"]
PLAN = "sweep.json"
LOCK_ATTEMPTS, LOCK_SECONDS = 3, 0.1
TAG = "lia.sweep"
"""Prefix of the tags that sweeps put on runs and models."""
SCORE_TAG = f"{TAG}.score."
"""Begins the tags by which a winner's model says how it scored, by objective."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """Everything the trials depend on. What cannot be compared with earlier trials never changes."""

    name: str
    """Of the sweep and of its study."""
    base: dict[str, Any]
    """The experiment whose fields are replaced, as JSON."""
    space: tuple[str, ...]
    """FIELD=VALUES, see `space`."""
    objectives: tuple[str, ...]
    trials: int
    """Trials in all; a resumed sweep may be given more."""
    seed: int
    """The same seed proposes the same sequence."""
    sampler: Sampler
    pruner: Pruner
    grace: int
    """Steps that every trial is given."""
    clips: int
    """Held-out clips on which metrics of `lia evaluate` are taken, spread evenly; 0 takes all."""
    concurrent: int
    """Trials at once; 0 goes by the cluster."""
    dataset: str
    dataset_digest: str
    vgg: str | None
    """Absolute path of VGG19's file, where the loss uses it."""
    perceptual_sha256: str | None
    """Of the weights of the perceptual term: with others, trials could not be compared."""
    storage: str | None
    """The study's database by URL, on disk without user name and password; None for SQLite in the folder."""
    tracking_uri: str
    run_id: str
    """The parent run in MLflow."""

    def experiment(self) -> Experiment:
        """The experiment whose fields are replaced."""
        return configuration.experiment_from_dict(self.base, origin=f"sweep {self.name}")

    def unswept(self) -> dict[str, Any]:
        """The base without the swept fields: no trial need have its values."""
        swept = {spec.partition("=")[0] for spec in self.space}
        return {
            section: {key: value for key, value in values.items() if f"{section}.{key}" not in swept}
            if isinstance(values, dict)
            else values
            for section, values in self.base.items()
        }

    def without_credentials(self) -> "SweepPlan":
        """The plan as it may be kept and recorded."""
        return replace(
            self,
            tracking_uri=without_credentials(self.tracking_uri),
            storage=self.storage and without_credentials(self.storage),
        )

    def steps(self, fields: Mapping[str, Any]) -> int:
        """Of a trial with these fields."""
        return int(fields.get("schedule.steps", self.base["schedule"]["steps"]))

    def read_space(self) -> Space:
        """The space, checked again."""
        return read_space(self.space, self.experiment())


@dataclass(frozen=True)
class SweepFolder:
    """The folder of a sweep."""

    path: Path

    def exists(self) -> bool:
        """Whether a sweep was begun here."""
        return (self.path / PLAN).is_file()

    def trial(self, number: int) -> RunFolder:
        """The run of a trial."""
        return RunFolder(self.path / f"trial-{number:04d}")

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def database(self) -> Path:
        """Of the study, where no other storage is named."""
        return self.path / "optuna.db"

    def require_new(self) -> None:
        """Raise InputError where a sweep, or anything else, is in the way."""
        require_makeable(self.path)
        if self.exists():
            raise InputError(
                f"{self.path}: holds a sweep already; `lia sweep --resume {self.path.name}` goes on with it, another "
                "--study starts a new one"
            )
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(f"{self.path}: is not an empty folder; give the sweep another --study or --out")

    def make(self) -> None:
        """Make the folder. Raises InputError where that is not allowed."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be made ({error.strerror}); name another folder by --out"
            ) from error

    def write(self, plan: SweepPlan) -> None:
        """Keep the plan; it appears whole or not at all, and without passwords."""
        self.make()
        text = json.dumps(asdict(plan.without_credentials()), indent=2) + "\n"
        with atomic_path(self.path / PLAN) as partial:
            partial.write_text(text, encoding="utf-8")

    def read(self) -> SweepPlan:
        """The plan. Raises InputError where there is none or it is damaged."""
        from pydantic import TypeAdapter, ValidationError

        path = self.path / PLAN
        try:
            plan = TypeAdapter(SweepPlan).validate_json(path.read_bytes())
        except FileNotFoundError:
            raise InputError(
                f"{self.path}: holds no sweep (no {PLAN}); start one with --study and --data"
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{path}: not a sweep's plan: {where and where + ': '}{first['msg']}") from None
        return replace(plan, tracking_uri=restore_credentials(plan.tracking_uri))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other drivers away from this sweep. Raises InputError where one is at work."""
        self.make()
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            for _ in range(LOCK_ATTEMPTS):
                if _taken(handle, fcntl.LOCK_EX):
                    break
                time.sleep(LOCK_SECONDS)  # someone may only have looked
            else:
                raise InputError(f"{self.path}: another process is at work on this sweep")
            yield
        finally:
            os.close(handle)

    def resume_command(self) -> str:
        """What goes on with this sweep."""
        return f"lia sweep --resume {shlex.quote(str(self.path))}"

    def at_work(self) -> bool:
        """Whether a driver is at work on this sweep; True as well where that cannot be known."""
        try:
            handle = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            return not _taken(handle, fcntl.LOCK_SH)
        except OSError:
            return True
        finally:
            os.close(handle)

    @property
    def _lock(self) -> Path:
        return self.path / ".lock"


def _taken(handle: int, kind: int) -> bool:
    """Take a lock; False where another process has it. Raises OSError where the file system has no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep_folder(out: Path, name: str) -> SweepFolder:
    """Where a sweep of this name lies: below `out`, or `name` itself if it is a path of a sweep."""
    direct = SweepFolder(Path(name))
    return direct if direct.exists() else SweepFolder(out / name)
