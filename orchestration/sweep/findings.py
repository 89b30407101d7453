"""What a sweep found: the best trial, the table of trials, the ablation of the direction count, the report."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from orchestration.evaluation.metrics import BASELINE
from orchestration.registration import Registration, register_run
from orchestration.sweep import study as studies
from orchestration.sweep.live_table import STATES, shown_value, title
from orchestration.sweep.objectives import COPIED, directions, groups_of, missed_by
from orchestration.sweep.pictures import draw_pictures, left_out
from orchestration.sweep.plan import SCORE_TAG, TAG, SweepFolder, SweepPlan
from pipelines.storage.atomic import atomic_path
from tracking.page import Table
from tracking.report import Medium, report
from tracking.run import Run

MOTION_DIM = "model.motion_dim"
TRIALS, REPORT = "trials.csv", "report.html"


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
        """What the study holds."""
        best = studies.ranked(plan, studies.best(study))
        return cls(
            folder=folder, plan=plan, study=study, best=tuple(best if len(plan.objectives) > 1 else best[:1])
        )

    @property
    def winner(self) -> FrozenTrial:
        """The best trial by the first objective; there is one where `best` holds any."""
        return self.best[0]

    def keep(self, parent: Run) -> None:
        """Draw, write and log all of it."""
        self._write_trials(parent)
        pictures = draw_pictures(self.folder, self.plan, self.study)
        page = self.folder.path / REPORT
        with atomic_path(page) as partial:
            partial.write_text(self._report(pictures), encoding="utf-8")
        parent.log_file(page)
        parent.log_folder(self.folder.pictures, "pictures")
        for trial, value in self.best_so_far():
            parent.log_metrics({f"best/{self.plan.objectives[0]}": value}, step=trial)
        parent.flush()

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
        head = "best trial" if len(self.plan.objectives) == 1 else f"Pareto front ({self._first_wins()})"
        lines = [
            f"{len(ended)} trial{'' if len(ended) == 1 else 's'}: {counts}",
            f"{head}:",
            *(f"  {self._described(trial)}" for trial in self.best),
            *filter(None, [self.against_copying()]),
            *(
                f"trial {trial.number} failed: {trial.user_attrs.get(studies.FAILURE, '')}"
                for trial in ended
                if trial.state is TrialState.FAIL
            ),
        ]
        if table := self.ablation():
            widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
            lines += ["", table.title]
            lines += [
                "  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True))
                for row in (table.columns, *table.rows)
            ]
        return "\n".join(lines)

    def against_copying(self) -> str:
        """Whether the winner is better than no model at all."""
        if not self.best:
            return ""
        scores = {
            name: studies.score(self.plan, self.winner, name)
            for name in dict.fromkeys(["l1", *self.plan.objectives])
        }
        compared = {
            name: (copied, score)
            for name, score in scores.items()
            if (copied := self._copying(name)) is not None and score is not None
        }
        if not compared:
            return ""
        copying = ", ".join(f"{name} {copied:.4f}" for name, (copied, _) in compared.items())
        winner = ", ".join(f"{name} {score:.4f}" for name, (_, score) in compared.items())
        text = f"copying the source scores {copying}, the winner {winner}"
        worse = [name for name, (copied, score) in compared.items() if not _better(name, score, copied)]
        if not worse:
            return text
        where = f" in {', '.join(worse)}" if len(compared) > 1 else ""
        return f"{text}: it does NOT beat copying{where}. Train longer before you compare settings"

    def ablation(self) -> Table | None:
        """A row a direction count, as in the paper's ablation; None where it was not swept."""
        ended = [trial for trial in studies.finished(self.study) if MOTION_DIM in trial.params]
        if not ended:
            return None
        names = [*dict.fromkeys([*self.plan.objectives, "l1", "psnr", "ssim"])]
        rows = []
        for count in sorted({int(trial.params[MOTION_DIM]) for trial in ended}):
            of_count = [trial for trial in ended if trial.params[MOTION_DIM] == count]
            complete = [trial for trial in of_count if trial.state is TrialState.COMPLETE]
            best = studies.ranked(self.plan, complete)[:1]
            scores = [self._score(best[0], name) if best else "" for name in names]
            rows.append(
                [str(count), str(len(of_count)), str(len(complete)) if best else _ends(of_count), *scores]
            )
        if any(copying := [_digits(self._copying(name)) for name in names]):
            rows.append(["copying", "", "", *copying])
        return Table(
            title="Number of motion directions M (the best trial of each)",
            columns=["M", "trials", "complete", *names],
            rows=rows,
            note="Trials differ in the other swept fields, too, and each was trained once: a difference smaller than "
            "that between two seeds says nothing. Copying is the source in place of a reconstruction.",
        )

    def settings(self) -> Table:
        """What was asked, and on which data."""
        plan, schedule = self.plan, self.plan.experiment().schedule
        ways = zip(plan.objectives, directions(plan.objectives), strict=True)
        stops = "none" if plan.pruner == "none" else f"{plan.pruner}, after {plan.grace:,} steps of grace"
        rows = [
            ["space", "  ".join(plan.space)],
            ["objective", ", ".join(f"{way} {name}" for name, way in ways)],
            ["sampler", f"{plan.sampler}, seed {plan.seed}"],
            ["pruner", stops],
            ["trials", f"{plan.trials}, of {schedule.steps:,} steps unless they are swept"],
            ["dataset", f"{plan.dataset} ({plan.dataset_digest[:12]})"],
            ["held-out pairs of a validation", str(schedule.validation_pairs)],
        ]
        if groups_of(plan.objectives):
            rows.append(["held-out clips of other metrics", str(plan.clips or "all")])
        rows += [["not drawn", f"{picture}: {why}"] for picture, why in self.left_out().items()]
        return Table(title="Sweep", columns=["", ""], rows=rows)

    def left_out(self) -> dict[str, str]:
        """Pictures for which there are too few trials, and what is missing."""
        return left_out(self.plan, self.study)

    def _first_wins(self) -> str:
        return f"the first, best in {self.plan.objectives[0]}, is the winner"

    def _copying(self, name: str) -> float | None:
        """The score of the source itself in place of the reconstruction."""
        return self.winner.user_attrs.get(_copied(name)) if self.best else None

    def _columns_of_scores(self) -> list[str]:
        """The objectives, and what they leave out."""
        return list(dict.fromkeys([*self.plan.objectives, *missed_by(self.plan.objectives)]))

    def _score(self, trial: FrozenTrial, name: str) -> str:
        return _digits(studies.score(self.plan, trial, name))

    def _described(self, trial: FrozenTrial) -> str:
        fields = ", ".join(f"{title(name)} {shown_value(value)}" for name, value in trial.params.items())
        scores = ", ".join(f"{name} {self._score(trial, name)}" for name in self.plan.objectives)
        return f"trial {trial.number}: {fields}: {scores}"

    def _table(self, *, exact: bool = False) -> Table:
        """All trials, with numbers for people or `exact` ones."""
        fields = list(self.plan.read_space().fields)
        digits = _exact if exact else _digits
        ended = studies.finished(self.study)
        names = dict.fromkeys(["l1", *self.plan.objectives])
        copied = [name for name in names if name == "l1" or any(_copied(name) in t.user_attrs for t in ended)]
        rows = [
            [
                str(trial.number),
                *((str if exact else shown_value)(trial.params[name]) for name in fields),
                STATES[trial.state],
                str(self._step(trial) or ""),
                *(digits(studies.score(self.plan, trial, name)) for name in self._columns_of_scores()),
                *(digits(trial.user_attrs.get(_copied(name))) for name in copied),
                str(trial.user_attrs.get(studies.FAILURE, "")),
            ]
            for trial in ended
        ]
        columns = [
            "trial",
            *map(title, fields),
            "state",
            "step",
            *self._columns_of_scores(),
            *(f"copy_{name}" for name in copied),
            "why it failed",
        ]
        note = (
            "copy_... are the scores of the source in place of a reconstruction, on the same held-out frames."
        )
        return Table(title="Trials", columns=columns, rows=rows, note=note)

    def _step(self, trial: FrozenTrial) -> int | None:
        if trial.state is TrialState.COMPLETE:
            return self.plan.steps(trial.params)
        return studies.last_step(trial)

    def _write_trials(self, parent: Run) -> None:
        """All trials as a CSV file, also in MLflow."""
        table = self._table(exact=True)
        with atomic_path(self.folder.path / TRIALS) as partial, partial.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.columns)
            writer.writerows(table.rows)
        parent.log_file(self.folder.path / TRIALS)

    def _report(self, pictures: dict[str, Any]) -> str:
        best = Table(
            title="Best trial" if len(self.plan.objectives) == 1 else f"Pareto front ({self._first_wins()})",
            columns=["trial"],
            rows=[[self._described(trial)] for trial in self.best],
            note=" ".join(filter(None, ["Scores are of held-out clips.", _sentence(self.against_copying())])),
        )
        found = (best if self.best else None, self.ablation(), self._table(), self.settings())
        tables: Sequence[Table] = [table for table in found if table is not None]
        return report(
            f"Sweep {self.plan.name}",
            tables=tables,
            media=[Medium(path=path, caption=caption) for caption, path in pictures.items()],
            config=self.plan.unswept(),
        )

    def register(self, parent: Run) -> Registration:
        """Register the winner's model, with its sweep as provenance."""
        folder = self.folder.trial(self.winner.number)
        _, record = folder.open()
        run = Run.attach(record.run_id, tracking_uri=self.plan.tracking_uri)
        scores = dict(zip(self.plan.objectives, self.winner.values, strict=True))
        tags = {
            f"{TAG}.name": self.plan.name,
            f"{TAG}.run": parent.run_id,
            f"{TAG}.trial": str(self.winner.number),
            f"{TAG}.trials": str(len(studies.finished(self.study))),
            **{f"{SCORE_TAG}{name}": f"{value:.6g}" for name, value in scores.items()},
        }
        registered = register_run(folder, run, tags=tags)
        parent.set_tags({f"{TAG}.winner": registered.uri, f"{TAG}.trial": str(self.winner.number)})
        return registered


def _better(metric: str, score: float, other: float) -> bool:
    return score < other if directions([metric]) == ["minimize"] else score > other


def _copied(name: str) -> str:
    """The attribute of a trial that has this metric of the source in place of the reconstruction."""
    return f"validated/{COPIED.get(name, BASELINE + name)}"


def _digits(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"


def _exact(score: float | None) -> str:
    return "" if score is None else repr(score)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _ends(trials: Sequence[FrozenTrial]) -> str:
    """How trials ended of which none is complete."""
    states = [STATES[trial.state] for trial in trials]
    return ", ".join(f"{states.count(word)} {word}" for word in STATES.values() if word in states)
