"""What made a result: code, configuration, data and libraries, as one value that travels with it."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

PLATFORM = "lia-platform"
GIT_SECONDS = 10.0
"""git answers in milliseconds; on a hanging network drive a run goes on without its commit."""
TAG_PREFIX = "lia."


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made a checkpoint, a dataset or a run. None means unknown or not applicable, never a guess."""

    git_commit: str | None
    """The checkout's commit; None outside a checkout or without git."""
    git_dirty: bool | None
    """Whether the checkout differs from the commit, files that git does not know included."""
    config_digest: str | None
    """sha256 of the resolved configuration (see `digest_config`)."""
    lock_digest: str | None
    """sha256 of the lock file with the pinned dependencies."""
    dataset_digest: str | None
    """The prepared dataset's digest, as its dataset.json states it."""
    platform_version: str | None
    """This platform's release."""
    python_version: str
    """The interpreter's release."""
    torch_version: str | None
    """With the build, such as 2.13.0+cpu: numbers may differ between builds."""
    ray_version: str | None
    """Ray's release."""
    command: str | None = None
    """The one line for a shell that makes this again; None for what was not begun by a command line."""
    worker_cpus: int | None = None
    """Threads of a worker that computes on CPUs: with another number of them sums are taken in another order."""

    @classmethod
    def collect(
        cls,
        *,
        repo: Path | None = None,
        config_digest: str | None = None,
        lock_file: Path | None = None,
        dataset_digest: str | None = None,
        command: str | None = None,
        worker_cpus: int | None = None,
    ) -> Self:
        """Find out what this process runs. `repo` is the checkout's top folder: no other repository is asked.

        Imports neither torch nor Ray. A `repo` or `lock_file` that is not there counts as unknown.
        """
        commit, dirty = git_state(repo) if repo is not None else (None, None)
        return cls(
            git_commit=commit,
            git_dirty=dirty,
            config_digest=config_digest,
            lock_digest=digest_file(lock_file) if lock_file is not None and lock_file.is_file() else None,
            dataset_digest=dataset_digest,
            platform_version=_release(PLATFORM),
            python_version=platform.python_version(),
            torch_version=_release("torch"),
            ray_version=_release("ray"),
            command=command,
            worker_cpus=worker_cpus,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ValueError naming missing and unknown fields.

        A field with a default may be missing: earlier releases did not write it.
        """
        names = {field.name for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if not required <= values.keys() <= names:
            raise ValueError(
                f"not a provenance record: missing {sorted(required - values.keys())}, "
                f"unknown {sorted(values.keys() - names)}"
            )
        return cls(**values)

    def to_tags(self) -> dict[str, str]:
        """As tags of a run or a model version, without unknown fields. MLflow's page shows the commit."""
        tags = {
            f"{TAG_PREFIX}{name}": _tag(value) for name, value in asdict(self).items() if value is not None
        }
        if self.git_commit is not None:
            tags["mlflow.source.git.commit"] = self.git_commit
        return tags


def digest_config(config: Mapping[str, Any]) -> str:
    """sha256 of a configuration's canonical JSON: the order of its keys does not matter."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(*paths: Path) -> str:
    """sha256 of a file's bytes; of several files, of their bytes one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def git_state(repo: Path) -> tuple[str | None, bool | None]:
    """(commit, whether there are changes) of the checkout with top folder `repo`; (None, None) if unknown.

    A package installed inside somebody else's checkout must not borrow its commit, so git may not look for a
    repository above `repo`, nor where GIT_DIR points. No hook, file monitor or submodule runs, and nothing is
    written, not even the index's refreshed time stamps.
    """
    if not (repo / ".git").exists():
        return None, None
    commit = _git(repo, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None, None
    changes = _git(repo, "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=all")
    return commit.strip(), None if changes is None else bool(changes.strip())


def _git(repo: Path, *arguments: str) -> str | None:
    """What git prints, None if there is no git, no answer in time, or an error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CEILING_DIRECTORIES": str(repo.resolve().parent), "LC_ALL": "C"}
    harmless = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
    try:
        done = subprocess.run(
            ["git", *harmless, "-C", str(repo), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _release(project: str) -> str | None:
    try:
        return version(project)
    except PackageNotFoundError:
        return None


def _tag(value: str | bool | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
