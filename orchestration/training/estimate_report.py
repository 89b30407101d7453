"""The estimate of a dry run as a table for the terminal."""

from collections.abc import Sequence
from datetime import timedelta

from orchestration.experiment import Experiment
from orchestration.training.estimate import Estimate
from orchestration.training.simulated_step import NetworkSize, SimulatedStep

_Rows = list[tuple[str, str]]


def report(found: Estimate) -> str:
    """The estimate as a table for the terminal."""
    experiment = found.experiment
    sections = {
        "parameters": _parameters(found.step),
        f"memory of a worker, {_conditions(experiment)}": _memory_rows(found),
        "arithmetic (FLOPs; two a multiply-add)": _arithmetic(found),
        "gradient averaging, each worker in each step": _traffic(found),
        "time": _time(found),
        "disk": [
            ("a checkpoint", readable_bytes(found.checkpoint_bytes)),
            ("all that are kept, one more under way", readable_bytes(found.disk_bytes)),
        ],
        "data": _data(found),
    }
    width = max(len(name) for rows in sections.values() for name, _ in rows)
    lines = [f"dry run of {experiment.name}: nothing is written, no worker is started"]
    for title, rows in sections.items():
        lines += ["", title, *(f"  {name:<{width}}  {value}" for name, value in rows)]
    return "\n".join(lines)


def _parameters(step: SimulatedStep) -> _Rows:
    def described(network: NetworkSize | None) -> str:
        if network is None:
            return "none"
        unused = f", {network.unused:,} of them without gradient" if network.unused else ", all with gradient"
        trained = f"{network.trainable:,} trained{unused}" if network.trainable else "fixed"
        return f"{network.parameters:,}, {trained}"

    return [
        ("generator", described(step.generator)),
        ("discriminator", described(step.discriminator)),
        ("perceptual features", described(step.perceptual)),
    ]


def _conditions(experiment: Experiment) -> str:
    compute, schedule = experiment.compute, experiment.schedule
    switches = [name for name in ("channels_last", "recompute") if getattr(compute, name)]
    pairs = _counted(schedule.batch_size // schedule.workers, "pair")
    if schedule.micro_batches > 1:
        pairs += f" in {schedule.micro_batches} parts"
    return ", ".join([pairs, f"{experiment.model.image_size} px", compute.precision, *switches])


def _memory_rows(found: Estimate) -> _Rows:
    step, place = found.step, found.place
    weights = sum(n.bytes for n in (*step.networks, step.perceptual) if n is not None)
    together = f" x {place.workers} workers" if place.workers > 1 else ""
    if place.workers < (workers := found.experiment.schedule.workers):
        together = f", one of {workers:,} such, a worker each"
    verdict = "fits" if found.fits else "DOES NOT FIT: raise schedule.micro_batches, or set compute.recompute"
    return [
        ("weights", readable_bytes(weights)),
        ("gradients", readable_bytes(step.gradient_bytes)),
        ("Adam's moments", readable_bytes(step.optimiser_bytes)),
        ("moving average", readable_bytes(step.average_bytes) if step.average_bytes else "none"),
        ("kept for backward, generator's step", readable_bytes(step.saved_generator)),
        ("kept for backward, discriminator's step", readable_bytes(step.saved_discriminator)),
        ("peak of a step", f"{readable_bytes(step.peak)} (the libraries' own memory comes on top)"),
        (f"{place.name}", f"{readable_bytes(place.memory)}{together}: {verdict}"),
    ]


def _arithmetic(found: Estimate) -> _Rows:
    step = found.step
    each = f"generator's step {step.flops_generator / 1e9:,.1f}, discriminator's {step.flops_discriminator / 1e9:,.1f}"
    return [
        ("a pair", f"{step.flops / 1e9:,.1f} GFLOP ({each})"),
        ("a step, all workers", f"{step.flops * found.experiment.schedule.batch_size / 1e12:,.3f} TFLOP"),
    ]


def _traffic(found: Estimate) -> _Rows:
    if found.experiment.schedule.workers == 1:
        return [("sent and received", "nothing: there is one worker")]
    names = ("generator", "discriminator")
    each = ", ".join(
        f"{name} {readable_bytes(network.gradient_bytes)}"
        for name, network in zip(names, found.step.networks, strict=False)
    )
    return [
        ("gradients", each),
        ("sent, and received as well", f"{readable_bytes(found.sent_bytes)} in a ring"),
    ]


def _time(found: Estimate) -> _Rows:
    measured, place, schedule = found.measured, found.place, found.experiment.schedule
    if isinstance(measured, str) or found.step_seconds is None:
        return [("a step", f"not measured: {measured}")]
    threads = f", {_counted(place.threads, 'thread')} a worker" if place.threads else ""
    if measured.rounds == 1 and measured.pairs == 1:
        threads += "; the first step, later ones are faster"
    how = f"{_counted(measured.rounds, 'real step')} of {_counted(measured.pairs, 'pair')} of random images"
    speed = found.step.flops * measured.pairs / measured.seconds / 1e9
    whole = timedelta(seconds=round(found.step_seconds * schedule.steps))
    return [
        ("a step", f"{found.step_seconds:.3f} s"),
        ("measured now", f"{how}, the median, on {place.name}{threads}"),
        ("that is", f"{measured.pairs / measured.seconds:,.2f} pairs/s a worker, {speed:,.0f} GFLOP/s"),
        (
            f"{schedule.steps:,} steps",
            f"{whole} with {schedule.workers} such workers, waiting for data and for each other not counted",
        ),
    ]


def _data(found: Estimate) -> _Rows:
    schedule = found.experiment.schedule
    pairs = ("pairs seen in the run", f"{schedule.steps * schedule.batch_size:,}")
    if found.data is None:
        return [pairs, ("dataset", "not given (--data DIR)")]
    data, side = found.data, found.experiment.model.image_size
    rows = [
        pairs,
        ("training clips", f"{data.clips:,} with {data.frames:,} frames, {data.held_out_clips:,} held out"),
        ("epochs", f"{data.epochs(found.experiment):,.1f} (a pair of every clip in each)"),
    ]
    if data.size != side:
        rows.append(("sizes", f"clips are {data.size} px, the model wants {side} px: training will refuse"))
    return rows


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def readable_bytes(count: float) -> str:
    """Decimal units, as disks, links and the vendors of GPUs count: 12.3 GB."""
    units: Sequence[tuple[float, str]] = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    for size, name in units:
        if count >= size:
            return f"{count / size:,.2f} {name}"
    return f"{count:.0f} bytes"
