"""A home folder as the launcher leaves it on a node, with a stand-in for Ray that notes how it is started."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster_files import ROOT

STARTED = """#!{python}
import json, os, sys
with open({file!r}, "w") as file:
    json.dump({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}, file)
"""


@dataclass
class NodeHome:
    """`path` is the home; `variables` are what the node's shell has beside it."""

    path: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make it."""
        for folder in ("lia/.venv/bin", "shared", "programs", ".ray"):
            (self.path / folder).mkdir(parents=True)
        (self.path / "lia" / "orchestration").symlink_to(ROOT / "orchestration")
        (self.path / ".ray" / "auth_token").write_text("a token")
        self.program(
            "ray", STARTED.format(python=sys.executable, file=str(self.path / "started")), "lia/.venv/bin"
        )
        self.variables = {
            "LIA_SHARED": str(self.path / "shared"),
            "LIA_STATE": str(self.path / "state"),
            "MLFLOW_TRACKING_URI": "http://mlflow.example.org",  # not ours: nothing to start
            **self.variables,
        }

    def program(self, name: str, text: str, folder: str = "programs") -> None:
        """Put a program where the node finds it first."""
        file = self.path / folder / name
        file.write_text(text)
        file.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """Of the node's shell."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "RAY_", "LIA_", "MLFLOW_"))
        }
        path = f"{self.path / 'programs'}{os.pathsep}{kept['PATH']}"
        return kept | {"HOME": str(self.path), "PATH": path} | self.variables

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Call a script of orchestration/nodes as the launcher does."""
        return subprocess.run(
            ["bash", str(self.path / "lia" / "orchestration" / "nodes" / script), *arguments],
            env=self.environment | variables,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def variable(self, name: str) -> str:
        """What processes on the node find in the environment: a shell that has it starts a script that sources it."""
        source = "source ~/lia/orchestration/nodes/environment.sh"
        twice = f"""{source}; bash -euo pipefail -c '{source}; printf %s "${name}"'"""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", twice],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def started(self) -> dict | None:
        """How Ray was started: `arguments` and `environment`; None if it was not."""
        file = self.path / "started"
        return json.loads(file.read_text()) if file.exists() else None
