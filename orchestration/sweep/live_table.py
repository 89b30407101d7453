"""The table of a sweep that is under way: what each trial tries, where it is, how it scores, how long it takes yet."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TextIO

from optuna.trial import FrozenTrial, TrialState
from ray.tune import Callback

from orchestration.sweep import study as studies
from orchestration.sweep.objectives import EVALUATED, VALIDATED
from orchestration.sweep.plan import SweepPlan
from orchestration.sweep.search import FAILED, StudySearch

TITLES = {"model.motion_dim": "M", "loss.perceptual": "lambda"}
"""Names that the paper has for fields; others are shown by their last part."""
REDRAW_SECONDS = 1.0
REPRINT_SECONDS = 60.0
"""Between two tables where the output is no terminal."""
MOST_ENDED = 12
"""Rows of trials that ended."""
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}


@dataclass
class Row:
    """A trial for people."""

    number: int
    fields: Mapping[str, Any]
    steps: int
    step: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    """Objectives that are known so far."""
    state: str = "starting"
    seconds_left: float | None = None
    reason: str = ""


@dataclass
class TrialTable:
    """Rows by trial, and how they are shown."""

    plan: SweepPlan
    rows: dict[int, Row] = field(default_factory=dict)

    def take(self, trial: FrozenTrial) -> None:
        """A trial that ended."""
        steps = self.plan.steps(trial.params)
        row = self.rows.setdefault(trial.number, Row(trial.number, trial.params, steps))
        row.state = STATES.get(trial.state, "left")
        row.step = steps if trial.state is TrialState.COMPLETE else studies.last_step(trial) or row.step
        row.reason = str(trial.user_attrs.get(studies.FAILURE, ""))
        row.seconds_left = None
        found = {name: studies.score(self.plan, trial, name) for name in self.plan.objectives}
        row.scores = {**row.scores, **{name: value for name, value in found.items() if value is not None}}

    def shown(self) -> list[Row]:
        """All that are under way, and of the others the newest; in their order."""
        ended = [row for row in self.rows.values() if row.state in STATES.values()]
        under_way = [row for row in self.rows.values() if row.state not in STATES.values()]
        newest = sorted(ended, key=lambda row: row.number)[-MOST_ENDED:]
        return sorted([*newest, *under_way], key=lambda row: row.number)

    def text(self) -> str:
        """The table: trial, fields, step, score, state, time left."""
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row.fields))
        objectives = self.plan.objectives
        head = ["trial", *(title(name) for name in names), "step", *objectives, "state", "left"]
        lines = [head] + [_cells(row, names, objectives) for row in self.shown()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        ]
        ended = [row.state for row in self.rows.values()]
        counts = ", ".join(f"{ended.count(state)} {state}" for state in STATES.values() if state in ended)
        return "\n".join(
            [
                *shown,
                f"{len(self.rows)} of {self.plan.trials} trials begun" + (f": {counts}" if counts else ""),
            ]
        )


def _cells(row: Row, fields: Sequence[str], objectives: Sequence[str]) -> list[str]:
    left = "" if row.seconds_left is None else str(timedelta(seconds=round(row.seconds_left)))
    scores = [f"{row.scores[name]:.4f}" if name in row.scores else "" for name in objectives]
    values = [shown_value(row.fields.get(name, "")) for name in fields]
    return [str(row.number), *values, f"{row.step:,}/{row.steps:,}", *scores, row.state, left]


def title(field_name: str) -> str:
    """What a field is called in tables: its last part, unless a metric stands there by that name."""
    last = field_name.rpartition(".")[2]
    return TITLES.get(field_name, field_name if last in {*VALIDATED, *EVALUATED} else last)


def shown_value(value: object) -> str:
    """Four digits of a number are enough for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class LiveTable(Callback):
    """Keeps a TrialTable up to date and shows it: in place on a terminal, else now and then."""

    def __init__(self, table: TrialTable, search: StudySearch, out: TextIO | None = None) -> None:
        self.table, self.search = table, search
        self._out = out or sys.stderr
        self._drawn = 0
        self._shown_at = -math.inf

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A new row, or one that begins again."""
        number, fields = trial.config["number"], trial.config["fields"]
        row = self.table.rows.setdefault(number, Row(number, fields, self.table.plan.steps(fields)))
        row.state = "starting"
        row.step = studies.last_step(self.search.frozen(trial.trial_id)) or row.step  # of one to go on with
        self._show()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Where it is; of a failure, `on_trial_complete` tells."""
        if FAILED in result:
            return
        row = self.table.rows[trial.config["number"]]
        row.state = "running"
        row.step = int(result["training_iteration"])
        row.seconds_left = result.get("seconds_left", row.seconds_left)
        found = {name: result.get(f"validated/{name}") for name in self.table.plan.objectives}
        row.scores = {**row.scores, **{name: score for name, score in found.items() if score is not None}}
        self._show()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """How it ended."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Likewise."""
        self._end(trial)

    def close(self) -> None:
        """Show the last state."""
        self._shown_at = -math.inf
        self._show()

    def _end(self, trial: Any) -> None:
        frozen = self.search.frozen(trial.trial_id)
        self.table.take(frozen)
        row = self.table.rows[frozen.number]
        if not self._out.isatty():
            fields = ", ".join(f"{title(name)} {shown_value(value)}" for name, value in row.fields.items())
            scores = "".join(f", {name} {score:.4f}" for name, score in row.scores.items())
            why = f": {row.reason}" if row.reason else ""
            print(
                f"trial {row.number} ({fields}) {row.state} at step {row.step:,}{scores}{why}",
                file=self._out,
                flush=True,
            )
        self._show()

    def _show(self) -> None:
        terminal = self._out.isatty()
        if time.monotonic() - self._shown_at < (REDRAW_SECONDS if terminal else REPRINT_SECONDS):
            return
        self._shown_at = time.monotonic()
        text = self.table.text()
        if terminal and self._drawn:
            self._out.write(f"\x1b[{self._drawn}F\x1b[J")
        self._drawn = text.count("\n") + 1
        print(text, file=self._out, flush=True)
