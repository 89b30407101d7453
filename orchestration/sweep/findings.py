"""What a sweep found: the best trial, the table of trials, the ablation of the direction count, the report."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from orchestration import configuration
from orchestration.registration import Registration, register_run
from orchestration.sweep import study as studies
from orchestration.sweep.live_table import STATES, shown_value, title
from orchestration.sweep.objectives import directions
from orchestration.sweep.pictures import draw_pictures
from orchestration.sweep.plan import TAG, SweepFolder, SweepPlan
from pipelines.storage.atomic import atomic_path
from tracking.page import Table
from tracking.report import Medium, report
from tracking.run import Run

MOTION_DIM = "model.motion_dim"
TRIALS = "trials.csv"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A study, read."""

    folder: SweepFolder
    plan: SweepPlan
    study: Study
    best: tuple[FrozenTrial, ...]
    """The best trial, or of several objectives the Pareto front, best in the first objective first."""

    @classmethod
    def of(cls, folder: SweepFolder, plan: SweepPlan, study: Study) -> "Findings":
        """What the study holds; it must have a complete trial."""
        best = studies.ranked(plan, studies.best(study))
        return cls(
            folder=folder, plan=plan, study=study, best=tuple(best if len(plan.objectives) > 1 else best[:1])
        )

    @property
    def winner(self) -> FrozenTrial:
        """The best trial by the first objective."""
        return self.best[0]

    def keep(self, parent: Run) -> Registration:
        """Draw, write and log all of it, and register the winner's model."""
        pictures = draw_pictures(self.folder, self.plan, self.study)
        self._write_trials()
        page = self.folder.path / "report.html"
        with atomic_path(page) as partial:
            partial.write_text(self._report(pictures), encoding="utf-8")
        parent.log_file(page)
        parent.log_file(self.folder.path / TRIALS)
        parent.log_folder(self.folder.pictures, "pictures")
        for trial, value in self.best_so_far():
            parent.log_metrics({f"best/{self.plan.objectives[0]}": value}, step=trial)
        parent.flush()
        return self._register(parent)

    def best_so_far(self) -> list[tuple[int, float]]:
        """(trial, the best value of the first objective up to it), in the order of the trials."""
        better = min if directions(self.plan.objectives)[0] == "minimize" else max
        curve: list[tuple[int, float]] = []
        for trial in studies.finished(self.study):
            if trial.state is TrialState.COMPLETE:
                curve.append((trial.number, better([trial.values[0], *(value for _, value in curve[-1:])])))
        return curve

    def text(self) -> str:
        """For the terminal."""
        ended = studies.finished(self.study)
        counts = ", ".join(
            f"{n} {word}" for state, word in STATES.items() if (n := sum(t.state is state for t in ended))
        )
        head = "best trial" if len(self.plan.objectives) == 1 else "Pareto front"
        lines = [
            f"{len(ended)} trial{'' if len(ended) == 1 else 's'}: {counts}",
            f"{head}:",
            *(f"  {self._described(trial)}" for trial in self.best),
        ]
        if table := self.ablation():
            widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
            lines += ["", table.title]
            lines += [
                "  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True))
                for row in (table.columns, *table.rows)
            ]
        return "\n".join(lines)

    def ablation(self) -> Table | None:
        """A row a direction count, as in the paper's ablation; None where it was not swept."""
        complete = [trial for trial in studies.complete(self.study) if MOTION_DIM in trial.params]
        if not complete:
            return None
        names = [*self.plan.objectives, *(n for n in ("psnr", "ssim") if n not in self.plan.objectives)]
        rows = []
        for count in sorted({int(trial.params[MOTION_DIM]) for trial in complete}):
            of_count = [trial for trial in complete if trial.params[MOTION_DIM] == count]
            best = studies.ranked(self.plan, of_count)[0]
            begun = sum(t.params.get(MOTION_DIM) == count for t in studies.finished(self.study))
            rows.append(
                [str(count), str(begun), str(len(of_count)), *(self._score(best, name) for name in names)]
            )
        return Table(
            title="Number of motion directions M (the best trial of each)",
            columns=["M", "trials", "complete", *names],
            rows=rows,
            note="Trials differ in the other swept fields, too, and each was trained once: a difference smaller than "
            "that between two seeds says nothing.",
        )

    def _score(self, trial: FrozenTrial, name: str) -> str:
        if name in self.plan.objectives:
            return f"{trial.values[self.plan.objectives.index(name)]:.4f}"
        value = trial.user_attrs.get(f"validated/{name}")
        return "" if value is None else f"{value:.4f}"

    def _described(self, trial: FrozenTrial) -> str:
        fields = ", ".join(f"{title(name)} {shown_value(value)}" for name, value in trial.params.items())
        scores = ", ".join(f"{name} {self._score(trial, name)}" for name in self.plan.objectives)
        return f"trial {trial.number}: {fields}: {scores}"

    def _table(self) -> Table:
        fields = list(self.plan.read_space().fields)
        rows = [
            [
                str(trial.number),
                *(shown_value(trial.params[name]) for name in fields),
                STATES[trial.state],
                str(trial.last_step or ""),
                *(self._score(trial, name) if trial.values else "" for name in self.plan.objectives),
                str(trial.user_attrs.get(studies.FAILURE, "")),
            ]
            for trial in studies.finished(self.study)
        ]
        columns = ["trial", *map(title, fields), "state", "step", *self.plan.objectives, "why it failed"]
        return Table(title="Trials", columns=columns, rows=rows, note="")

    def _write_trials(self) -> None:
        table = self._table()
        with atomic_path(self.folder.path / TRIALS) as partial, partial.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.columns)
            writer.writerows(table.rows)

    def _report(self, pictures: dict[str, Any]) -> str:
        best = Table(
            title="Best trial" if len(self.plan.objectives) == 1 else "Pareto front",
            columns=["trial"],
            rows=[[self._described(trial)] for trial in self.best],
            note="Scores are of held-out clips.",
        )
        tables: Sequence[Table] = [t for t in (best, self.ablation(), self._table()) if t is not None]
        return report(
            f"Sweep {self.plan.name}",
            tables=tables,
            media=[Medium(path=path, caption=caption) for caption, path in pictures.items()],
            config=configuration.to_dict(self.plan.experiment()),
        )

    def _register(self, parent: Run) -> Registration:
        folder = self.folder.trial(self.winner.number)
        _, record = folder.open()
        run = Run.attach(record.run_id, tracking_uri=self.plan.tracking_uri)
        scores = dict(zip(self.plan.objectives, self.winner.values, strict=True))
        tags = {
            f"{TAG}.name": self.plan.name,
            f"{TAG}.run": parent.run_id,
            f"{TAG}.trial": str(self.winner.number),
            f"{TAG}.trials": str(len(studies.finished(self.study))),
            **{f"{TAG}.{name}": f"{value:.6g}" for name, value in scores.items()},
        }
        registered = register_run(folder, run, tags=tags)
        parent.set_tags({f"{TAG}.winner": registered.uri, f"{TAG}.trial": str(self.winner.number)})
        return registered
