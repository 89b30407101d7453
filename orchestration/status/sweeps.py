"""How far a sweep is, from its study."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.status.unreached import Unreached
from orchestration.sweep.plan import SweepFolder


@dataclass(frozen=True, kw_only=True)
class SweepProgress:
    """A sweep at one moment."""

    name: str
    trials: int
    """That there will be."""
    states: Mapping[str, int]
    """Trials begun, by Optuna's state: RUNNING, COMPLETE, PRUNED, FAIL."""
    to_try_again: int
    """Failed trials that the next driver tries again."""
    at_work: bool
    """Whether a driver is; without one nothing is running."""
    objective: str
    best: float | None
    best_trial: int | None
    best_fields: Mapping[str, Any]


def read_sweep(path: Path) -> SweepProgress:
    """The sweep in a folder. Raises InputError or Unreached."""
    folder = SweepFolder(path)
    plan = folder.read()
    if plan.storage is None and not folder.database.is_file():
        raise Unreached(str(path), f"{folder.database.name} is not there yet")
    from orchestration.sweep.study import complete, finished, hindered, open_study, ranked, unfinished

    with open_study(folder, plan) as study:
        states = Counter(trial.state.name for trial in (*finished(study), *unfinished(study)))
        to_try_again = len(hindered(study))
        best = next(iter(ranked(plan, complete(study))), None)
    return SweepProgress(
        name=str(path),
        trials=plan.trials,
        states=states,
        to_try_again=to_try_again,
        at_work=folder.at_work(),
        objective=plan.objectives[0],
        best=best.values[0] if best else None,
        best_trial=best.number if best else None,
        best_fields=best.params if best else {},
    )
