"""A sweep by TPE against random search of the same budget: best score so far, and what all but training costs.

    python -m benchmarks.sweep_vs_random --data DIR --out DIR -- demo --trials 12 --space FIELD=VALUES

What stands behind `--` goes to `lia sweep`, twice, with --sampler tpe and --sampler random. Both propose from one seed,
so the first ten trials are the same, as TPE begins at random. Prints both curves (by trial and by minute) and how long
the trials trained; draws the curves in OUT/best-so-far.png.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib
import optuna
from matplotlib import pyplot

from benchmarks.sides import machine
from orchestration.cli.main import main as lia
from orchestration.sweep.plan import SweepFolder
from orchestration.sweep.study import SECONDS, open_study

SAMPLERS = ("tpe", "random")
STATES = ("COMPLETE", "PRUNED", "FAIL")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("flags", nargs="+", help="of lia sweep")
    options = parser.parse_args()
    results = {}
    for sampler in SAMPLERS:
        began = time.perf_counter()
        command = ["sweep", *options.flags, "--study", sampler, "--sampler", sampler]
        status = lia([*command, "--data", str(options.data), "--out", str(options.out)])
        if status:
            raise SystemExit(status)
        results[sampler] = {
            **read_sweep(SweepFolder(options.out / sampler)),
            "command_s": round(time.perf_counter() - began, 1),
        }
    draw(results, options.out / "best-so-far.png")
    print(
        json.dumps({"benchmark": "sweep_vs_random", "results": results, "machine": machine("cpu")}, indent=2)
    )


def read_sweep(folder: SweepFolder) -> dict[str, Any]:
    """Curves and times of a finished sweep."""
    plan = folder.read()
    with open_study(folder, plan) as study:
        trials = study.get_trials()
        minimise = study.directions[0] == optuna.study.StudyDirection.MINIMIZE
    began = min(trial.datetime_start for trial in trials if trial.datetime_start)
    ended = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
    best: float | None = None
    curve = []
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    for trial in sorted(complete, key=lambda trial: trial.datetime_complete):  # type: ignore[arg-type,return-value]
        value = trial.values[0]
        best = value if best is None else min(best, value) if minimise else max(best, value)
        minutes = (trial.datetime_complete - began).total_seconds() / 60  # type: ignore[operator]
        curve.append({"trial": trial.number, "minutes": round(minutes, 2), "best": round(best, 5)})
    return {
        "trials": {state: sum(trial.state.name == state for trial in trials) for state in STATES},
        "best_so_far": curve,
        "best_params": min(complete, key=lambda t: t.values[0] if minimise else -t.values[0]).params,
        "trials_s": round((ended - began).total_seconds(), 1),
        "trained_s": round(sum(trial.user_attrs.get(SECONDS, 0.0) for trial in trials), 1),
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """Both curves over time."""
    matplotlib.use("Agg")
    figure, axes = pyplot.subplots(figsize=(8, 4.5), constrained_layout=True)
    for sampler, found in results.items():
        curve = found["best_so_far"]
        end = found["trials_s"] / 60
        minutes = [point["minutes"] for point in curve] + [end]
        axes.step(
            minutes, [point["best"] for point in curve] + [curve[-1]["best"]], where="post", label=sampler
        )
    axes.set_xlabel("minutes")
    axes.set_ylabel("best held-out score so far")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
