"""A sweep so small that a test can run, kill and resume it, and what it leaves in its study."""

from pathlib import Path
from typing import Any

import optuna

from tests.small_training import RECIPE, Training

STEPS, EVERY = 60, 15
"""Of a trial, and between two of its validations and checkpoints."""
TRIALS = 3
FLAGS = (
    # No Adam survives a step of the last rate, which this seed proposes second.
    *("--trials", str(TRIALS), "--seed", "1", "--concurrent", "2"),
    *("--space", "model.motion_dim=2,3", "--space", "optimiser.lr=0.002,0.004,0.008,1e30"),
)
FIELDS = (
    *RECIPE,
    *("--schedule.steps", str(STEPS), "--schedule.validate_every", str(EVERY)),
    *("--schedule.checkpoint_every", str(EVERY), "--schedule.sample_every", str(STEPS)),
    *("--loss.adversarial", "0"),
)


def sweep(cwd: Path, *arguments: str | Path, out: str | Path = "sweeps") -> Training:
    """`lia sweep` in a process of its own."""
    return Training(cwd, *arguments, out=out, verb="sweep")


def trials(folder: Path, storage: str | None = None) -> list[dict[str, Any]]:
    """What the study of the sweep in `folder` knows of each trial."""
    study = optuna.load_study(study_name=folder.name, storage=storage or f"sqlite:///{folder / 'optuna.db'}")
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "params": trial.params,
            "values": trial.values,
            "validated": trial.intermediate_values,
            "hindered": bool(trial.user_attrs.get("hindered")),
            "failure": str(trial.user_attrs.get("failure", "")).removeprefix(str(folder)),
        }
        for trial in study.trials
    ]
