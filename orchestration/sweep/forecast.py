"""What the training of a sweep will take, from a few measured steps: hours, machine-hours, money, disk."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestration.cluster import local_cpus
from orchestration.experiment import Experiment
from orchestration.sweep.objectives import EVALUATED
from orchestration.sweep.slots import Slots
from orchestration.sweep.space import Dimension, Space, apply
from orchestration.training.estimate import Estimate
from orchestration.training.estimate_report import readable_bytes
from orchestration.training.measured_step import MeasuredStep, measure_step, this_machine
from orchestration.training.simulated_step import SimulatedStep, simulate_step

MEASURING_SECONDS = 6.0
BUSY = 1.5
"""Load a processor, from which on a measured step says little."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Of training alone, where no trial is stopped early."""

    trials: int
    concurrent: int
    machines: int
    steps: int
    step_seconds: float | None
    """None where a step could not be measured on this machine."""
    why: str = ""
    """And the reason."""
    disk_bytes: int
    """Of the checkpoints of trials under way, and the models of all."""
    price: float | None
    """Of a machine-hour, in whatever currency."""
    evaluated: tuple[str, ...] = ()
    """Objectives that are taken after training, on top of it."""
    done: int = 0
    """Trials before these."""
    combinations: float = math.inf
    """Of values, that the space has."""
    load: float = 0.0
    """Of this machine before a step was measured: processes that wanted a processor, over the last minute."""

    @property
    def repeated(self) -> float:
        """Trials that can only repeat others."""
        return max(0.0, self.done + self.trials - self.combinations)

    @property
    def seconds(self) -> float | None:
        """That all trials train."""
        if self.step_seconds is None:
            return None
        rounds = -(-self.trials // self.concurrent)
        return rounds * self.steps * self.step_seconds

    def lines(self) -> list[str]:
        """For people."""
        amount = f"{self.trials} trials of up to {self.steps:,} steps, {self.concurrent} at a time"
        disk = f"disk: up to {readable_bytes(self.disk_bytes)}"
        if self.seconds is None or self.step_seconds is None:
            return [f"forecast: {amount}; time unknown ({self.why})", disk]
        hours = self.seconds / 3600 * self.machines
        money = "" if self.price is None else f", {hours * self.price:,.2f} at {self.price:g} a machine-hour"
        return [
            f"forecast: {amount}, {self.step_seconds:.3f} s a step (measured on this machine, one trial by itself)",
            f"about {timedelta(seconds=round(self.seconds))} of training: {hours:,.2f} machine-hours on "
            f"{self.machines} machine{'s' if self.machines > 1 else ''}{money}; starts, validations and checkpoints "
            "come on top, trials that are stopped early take less",
            *self._on_top(),
            disk,
            *self._warnings(),
        ]

    def _on_top(self) -> list[str]:
        names = ", ".join(self.evaluated)
        return [f"{names}: taken after each training, which comes on top"] if names else []

    def _warnings(self) -> list[str]:
        warnings = []
        if self.load > BUSY * local_cpus():
            warnings.append(
                f"other work runs on this machine (load {self.load:.1f} on {local_cpus()} processors): the step was "
                "measured beside it, so this says little of the trials' time"
            )
        if self.repeated:
            warnings.append(
                f"the space has {self.combinations:.0f} combinations: {self.repeated:.0f} trials repeat others, to the "
                "same scores. Give fewer --trials, or sweep schedule.seed, too"
            )
        return warnings


def forecast(
    base: Experiment,
    space: Space,
    slots: Slots,
    *,
    trials: int,
    machines: int,
    done: int = 0,
    objectives: Sequence[str] = (),
    price: float | None = None,
    seconds: float = MEASURING_SECONDS,
) -> Forecast:
    """Measure steps of the costliest experiment of the space for some seconds, and multiply."""
    load = os.getloadavg()[0]
    costliest, step = costliest_of(base, space)
    place = this_machine(costliest)
    if place.threads:
        place = replace(place, threads=int(slots.share.get("CPU", 1)))
    measured = measure_step(costliest, place, needed=step.peak, seconds=seconds)
    found = Estimate(experiment=costliest, step=step, place=place, measured=measured, data=None)
    model_bytes = step.generator.parameters * 4
    return Forecast(
        trials=trials,
        concurrent=slots.count,
        machines=machines,
        steps=costliest.schedule.steps,
        step_seconds=found.step_seconds if isinstance(measured, MeasuredStep) else None,
        why="" if isinstance(measured, MeasuredStep) else measured,
        disk_bytes=found.disk_bytes * slots.count + model_bytes * trials,
        price=price,
        evaluated=tuple(name for name in objectives if name in EVALUATED),
        done=done,
        combinations=space.combinations(),
        load=load,
    )


def costliest_of(base: Experiment, space: Space) -> tuple[Experiment, SimulatedStep]:
    """The space's experiment with the largest numbers, and of other choices those with the most arithmetic a step."""
    fields = {d.field: max(d.ends) if _numbers(d) else d.ends[0] for d in space.dimensions}
    experiment = apply(base, fields)
    step = simulate_step(experiment)
    for dimension in space.dimensions:
        if _numbers(dimension):
            continue
        for choice in dimension.ends[1:]:
            other = apply(base, {**fields, dimension.field: choice})
            simulated = simulate_step(other)
            if simulated.flops > step.flops:
                fields[dimension.field], experiment, step = choice, other, simulated
    return experiment, step


def _numbers(dimension: Dimension) -> bool:
    return all(isinstance(end, int | float) for end in dimension.ends)
