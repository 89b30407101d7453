"""The status as text for a terminal."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from textwrap import wrap

from orchestration.status.dashboard import Cluster, Job, Machine
from orchestration.status.gather import Status
from orchestration.status.sweeps import SweepProgress
from orchestration.status.training import TrainingProgress
from orchestration.status.unreached import Unreached
from pipelines.preparation.watching import PreparationProgress

MOST_JOBS = 6
TITLE_WIDTH, FIGURES_INDENT = 13, 10
SILENT_SECONDS = 300.0
"""Without a record of a training that runs: a killed one stays so in MLflow."""
STATES = {"COMPLETE": "complete", "RUNNING": "running", "PRUNED": "stopped early", "FAIL": "failed"}


def screen(status: Status, width: int = 80) -> str:
    """All of it, a section a kind; names that come from elsewhere keep no control characters."""
    lines = [f"{datetime.fromtimestamp(status.at):%Y-%m-%d %H:%M:%S}"]
    if status.cluster:
        lines += job_lines(status.cluster, status.at, width)
        lines += machine_lines(status.cluster.machines)
    for place, progress in status.preparations:
        lines += _section("PREPARATION", place, preparation_lines(progress, status.at))
    for training in status.trainings:
        lines += _section(
            "TRAINING", f"{training.name}  {training.experiment}", training_lines(training, status.at, width)
        )
    for sweep in status.sweeps:
        lines += _section("SWEEP", sweep.name, sweep_lines(sweep))
    more = [f"{count} more {kind}" for kind, count in status.left_out.items() if count]
    if more:
        lines += ["", f"{', '.join(more)}: older or finished; --out names one"]
    lines += unreached_lines(status.unreached, width)
    return "\n".join(_shortened(_printable(line).rstrip(), width) for line in lines)


def job_lines(cluster: Cluster, now: float, width: int = 80) -> list[str]:
    """Each job with how long it runs or ran; also the command of one under way, and why one failed."""
    lines = ["", _title("JOBS", cluster.address)]
    if not cluster.jobs:
        lines.append("  none was submitted")
    for job in cluster.jobs[:MOST_JOBS]:
        lines.append(f"  {job.status:9}  {_job_time(job, now):>10}  {job.name}")
        if job.ended is None and job.command:
            lines.append(f"    {job.command}")
        if job.status == "FAILED" and job.message:
            lines += wrap(_last_line(job.message), width, initial_indent="    ", subsequent_indent="    ")
    if (left := len(cluster.jobs) - MOST_JOBS) > 0:
        lines.append(f"  and {left} more")
    return lines


def machine_lines(machines: Sequence[Machine]) -> list[str]:
    """A line a kind of machine (a name, so many CPUs and GPUs): how many, and how much of them is in use."""
    alive = [machine for machine in machines if machine.alive]
    lost = len(machines) - len(alive)
    head = f"{len(alive)} alive" + (f", {lost} gone" if lost else "")
    kinds: dict[tuple[str, float, float], list[Machine]] = defaultdict(list)
    for machine in alive:
        kinds[machine.kind, machine.cpus, machine.gpus].append(machine)
    rows: list[tuple[str, ...]] = [
        ("kind", "nodes", "CPUs taken", "CPU", "memory GB", "GPUs taken", "GPU", "GPU GB")
    ]
    rows += [(kind, str(len(group)), *_use(group)) for (kind, _, _), group in kinds.items()]
    columns = list(zip(*rows, strict=True))
    kept = [column for column in columns if any(cell for cell in column[1:])] if len(rows) > 1 else columns
    widths = [max(map(len, column)) for column in kept]
    table = []
    for cells in zip(*kept, strict=True):
        first, *rest = zip(cells, widths, strict=True)
        table.append("  " + "  ".join([first[0].ljust(first[1]), *(cell.rjust(wide) for cell, wide in rest)]))
    return ["", _title("MACHINES", head), *table]


def preparation_lines(progress: PreparationProgress, now: float) -> list[str]:
    """Shards and clips done of those planned, and failures."""
    shards = _of(progress.shards, progress.shards_planned, "shards")
    known = [f"{progress.state}: {shards}"]
    if progress.clips is not None:
        known.append(_of(progress.clips, progress.clips_planned, "clips"))
    failed = f"{progress.failed:,} failed"
    if progress.looked_at < progress.shards:
        failed += f" in {progress.looked_at:,} of the shards"
    known.append(failed)
    lines = [", ".join(known)]
    if progress.state == "unfinished" and progress.published_at is not None:
        lines.append(f"the last shard came {duration(now - progress.published_at)} ago")
    if progress.why:
        lines.append(f"refused: {progress.why}")
    return lines


def training_lines(training: TrainingProgress, now: float, width: int = 80) -> list[str]:
    """Where it is, how fast, how long it takes yet; losses; held-out scores."""
    lines = [f"{training.state}: step {_of(training.step, training.steps, '')}".rstrip()]
    if training.checkpoint is not None:
        lines[0] += f", newest checkpoint at {training.checkpoint:,}"
    speed = training.speed
    pace = [f"{speed['pairs_per_second']:.1f} pairs/s"] if "pairs_per_second" in speed else []
    if "data_wait" in speed:
        pace.append(f"{speed['data_wait']:.1%} waiting for data")
    if "workers" in speed:
        count = int(speed["workers"])
        pace.append(f"{count} worker{'s' if count != 1 else ''}")
    silent = 0.0 if training.recorded_at is None else now - training.recorded_at
    if training.state == "running" and training.seconds_left is not None and silent < SILENT_SECONDS:
        pace.append(f"{duration(training.seconds_left)} left")
    if pace:
        lines.append(", ".join(pace))
    if training.losses:
        lines += _figures("losses", training.losses, width)
    if training.validation:
        lines += _figures("held out", training.validation, width)
    if training.state != "finished" and training.recorded_at is not None:
        ended = ": it is slow, or has ended without a word" if silent >= SILENT_SECONDS else ""
        lines.append(f"last heard of {duration(silent)} ago{ended if training.state == 'running' else ''}")
    if training.note:
        lines.append(training.note)
    return lines


def sweep_lines(sweep: SweepProgress) -> list[str]:
    """Trials by state, and the best."""
    begun = sum(sweep.states.values())
    words = STATES if sweep.at_work else {**STATES, "RUNNING": "left half done"}
    states = ", ".join(
        f"{sweep.states[name]} {word}" for name, word in words.items() if sweep.states.get(name)
    )
    lines = [_of(begun, sweep.trials, "trials begun") + (f": {states}" if states else "")]
    if sweep.best is not None:
        fields = ", ".join(f"{name} {_figure(value)}" for name, value in sweep.best_fields.items())
        lines.append(f"best {sweep.objective} {sweep.best:.4g} in trial {sweep.best_trial} ({fields})")
    left = sweep.states.get("RUNNING") or begun < sweep.trials or sweep.to_try_again
    if left and not sweep.at_work:
        lines.append(f"nothing is at work on it: `lia sweep --resume {sweep.name}` goes on")
    return lines


def unreached_lines(unreached: Iterable[Unreached], width: int) -> list[str]:
    """What could not be seen, why, and how it could."""
    lines = []
    for source in unreached:
        text = f"{source.what}: {source.why}" + (f". {source.remedy}" if source.remedy else "")
        lines += wrap(
            _printable(text), width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )
    return ["", "NOT REACHED", *lines] if lines else []


def duration(seconds: float) -> str:
    """As people say it: 12 s, 3:07 min, 2:14:09 h, 9 days 4 h."""
    if not math.isfinite(seconds):
        return "for ever"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    if whole < 86400:
        return f"{timedelta(seconds=whole)} h"
    days, rest = divmod(whole, 86400)
    return f"{days} day{'s' if days > 1 else ''} {rest // 3600} h"


def _use(group: Sequence[Machine]) -> tuple[str, ...]:
    gpus = sum(machine.gpus for machine in group)
    percent = [machine.cpu_percent for machine in group if machine.cpu_percent is not None]
    memory = [(m.memory_used, m.memory) for m in group if m.memory_used is not None and m.memory is not None]
    busy = [value for machine in group for value in machine.gpu_percent]
    gpu_memory = sum(machine.gpu_memory for machine in group)
    used = sum(machine.gpu_memory_used for machine in group)
    return (
        _taken([machine.cpus_taken for machine in group], sum(machine.cpus for machine in group)),
        f"{sum(percent) / len(percent):.0f} %" if percent else "",
        f"{sum(u for u, _ in memory) / 1e9:.0f}/{sum(m for _, m in memory) / 1e9:.0f}" if memory else "",
        _taken([machine.gpus_taken for machine in group], gpus) if gpus else "",
        f"{sum(busy) / len(busy):.0f} %" if busy else "",
        f"{used / 1e9:.0f}/{gpu_memory / 1e9:.0f}" if gpu_memory else "",
    )


def _taken(taken: Sequence[float | None], total: float) -> str:
    known = [value for value in taken if value is not None]
    return f"{sum(known):g}/{total:g}" if len(known) == len(taken) else f"?/{total:g}"


def _job_time(job: Job, now: float) -> str:
    return duration((job.ended or now) - job.began) if job.began is not None else ""


def _of(done: int, planned: int | None, what: str) -> str:
    if planned is None:
        return f"{done:,} {what}"
    if done == planned and what:
        return f"all {done:,} {what}"
    share = f" ({math.floor(1000 * done / planned) / 10:.1f} %)" if planned and done < planned else ""
    return f"{done:,} of {planned:,}{f' {what}' if what else ''}{share}"


def _figures(title: str, values: Mapping[str, float], width: int) -> list[str]:
    """Names with their values, in as many lines as they take; a name stays with its value."""
    pairs = "  ".join(f"{name}\xa0{_figure(value)}" for name, value in values.items())
    indent = " " * FIGURES_INDENT
    lines = wrap(pairs, width - 2, initial_indent=f"{title:{FIGURES_INDENT}}", subsequent_indent=indent)
    return [line.replace("\xa0", " ") for line in lines]


def _last_line(message: str) -> str:
    """Ray puts the end of a job's output behind its own words: there, the reason comes last."""
    lines = [line for line in message.splitlines() if line.strip()]
    return _printable(lines[-1]) if lines else ""


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _section(title: str, name: str, lines: Iterable[str]) -> list[str]:
    return ["", _title(title, name), *(f"  {line}" for line in lines)]


def _title(title: str, name: str) -> str:
    return f"{title:{TITLE_WIDTH}}{name}".rstrip()


def _shortened(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)
