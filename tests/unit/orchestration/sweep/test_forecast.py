"""What a sweep takes: multiplication, and a measurement of the costliest trial."""

import math
from dataclasses import replace

import pytest

from orchestration.recipes import vox256
from orchestration.sweep import forecast as forecasts
from orchestration.sweep.forecast import Forecast, costliest_of, forecast
from orchestration.sweep.slots import Slots
from orchestration.sweep.space import read_space
from orchestration.training.measured_step import MeasuredStep
from orchestration.training.simulated_step import NetworkSize, SimulatedStep
from tests.small_study import STEPS, small_experiment

ONE = Forecast(
    trials=20, concurrent=3, machines=2, steps=1000, step_seconds=0.5, disk_bytes=3 * 10**9, price=None
)


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        pytest.param({}, 7 * 500, id="seven-rounds-of-three"),
        pytest.param({"trials": 21}, 7 * 500, id="full-rounds"),
        pytest.param({"trials": 22}, 8 * 500, id="one-more"),
        pytest.param({"trials": 2}, 500, id="one-round"),
        pytest.param({"step_seconds": None}, None, id="unmeasured"),
    ],
)
def test_seconds(changes, seconds):
    assert replace(ONE, **changes).seconds == seconds


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {},
            [
                "forecast: 20 trials of up to 1,000 steps, 3 at a time, 0.500 s a step (measured on this machine, one "
                "trial by itself)",
                "about 0:58:20 of training: 1.94 machine-hours on 2 machines; starts, validations and checkpoints "
                "come on top, trials that are stopped early take less",
            ],
            id="time",
        ),
        pytest.param(
            {"price": 1.5, "machines": 1, "trials": 36 * 3, "step_seconds": 1.0},
            [
                "forecast: 108 trials of up to 1,000 steps, 3 at a time, 1.000 s a step (measured on this machine, one "
                "trial by itself)",
                "about 10:00:00 of training: 10.00 machine-hours on 1 machine, 15.00 at 1.5 a machine-hour; starts, "
                "validations and checkpoints come on top, trials that are stopped early take less",
            ],
            id="money",
        ),
        pytest.param(
            {"evaluated": ("face_akd", "lpips"), "concurrent": 20, "machines": 1},
            [
                "forecast: 20 trials of up to 1,000 steps, 20 at a time, 0.500 s a step (measured on this machine, one "
                "trial by itself)",
                "about 0:08:20 of training: 0.14 machine-hours on 1 machine; starts, validations and checkpoints "
                "come on top, trials that are stopped early take less",
                "face_akd, lpips: taken after each training, which comes on top",
            ],
            id="evaluation",
        ),
        pytest.param(
            {"step_seconds": None, "why": "no GPU here"},
            ["forecast: 20 trials of up to 1,000 steps, 3 at a time; time unknown (no GPU here)"],
            id="unmeasured",
        ),
    ],
)
def test_words(changes, expected):
    *lines, disk = replace(ONE, **changes).lines()
    assert lines == expected
    assert disk.startswith("disk: up to 3")


@pytest.mark.parametrize(
    ("done", "combinations", "repeated"), [(0, 19, 1), (0, 20, 0), (5, 20, 5), (0, math.inf, 0)]
)
def test_trials_that_can_only_repeat_others_are_warned_of(done, combinations, repeated):
    forecast = replace(ONE, done=done, combinations=combinations)
    assert forecast.repeated == repeated
    told = f"has {combinations} combinations: {repeated} trials repeat others"
    assert any(told in line for line in forecast.lines()) == bool(repeated)


GENERATOR = NetworkSize(
    parameters=10**6, bytes=4 * 10**6, trainable=10**6, unused=0, gradient_bytes=4 * 10**6
)


@pytest.fixture(autouse=True)
def simulated(monkeypatch):
    """A step of a million weights; to simulate a real one takes seconds."""
    step = SimulatedStep(
        generator=GENERATOR,
        discriminator=None,
        perceptual=None,
        average_bytes=0,
        optimiser_bytes=8 * 10**6,
        saved_generator=0,
        saved_discriminator=0,
        peak=10**7,
        flops_generator=1e9,
        flops_discriminator=0.0,
    )
    monkeypatch.setattr(forecasts, "simulate_step", lambda experiment: step)


def test_the_costliest_trial_is_measured_with_a_trials_share(monkeypatch):
    seen = []

    def measure(experiment, place, *, needed, seconds):
        seen.append((experiment, place.threads, needed, seconds))
        return MeasuredStep(pairs=experiment.schedule.batch_size, seconds=0.25, rounds=3)

    monkeypatch.setattr(forecasts, "measure_step", measure)
    base = small_experiment()
    space = read_space(
        [
            "model.motion_dim=3,8,5",
            "schedule.batch_size=4,16",
            "optimiser.lr=log:1e-4:1e-2",
            "compute.precision=fp32,bf16",
        ],
        base,
    )
    slots = Slots(count=2, share={"CPU": 1}, workers=1)
    found = forecast(base, space, slots, trials=8, machines=1, price=2.0, seconds=1.5)
    ((experiment, threads, needed, seconds),) = seen
    assert (experiment.model.motion_dim, experiment.schedule.batch_size) == (8, 16)
    assert (experiment.optimiser.lr, experiment.compute.precision) == (1e-2, "fp32")
    assert (threads, needed, seconds) == (1, 10**7, 1.5)
    assert (found.trials, found.concurrent, found.steps, found.price) == (8, 2, STEPS, 2.0)
    assert found.step_seconds == pytest.approx(0.25)
    assert found.seconds == pytest.approx(4 * STEPS * 0.25)
    checkpoints = 12 * 10**6 * (base.schedule.keep_checkpoints + 2)
    assert found.disk_bytes == 2 * checkpoints + 8 * 4 * 10**6


def test_of_choices_that_are_no_numbers_the_one_with_the_most_arithmetic_is_measured(monkeypatch, simulated):
    step = forecasts.simulate_step(small_experiment())

    def simulate(experiment):
        costs = {"none": 1e9, "vgg16-hed": 5e9, "vgg19": 3e9}
        return replace(step, flops_generator=costs[experiment.loss.perceptual_features])

    monkeypatch.setattr(forecasts, "simulate_step", simulate)
    space = read_space(["loss.perceptual_features=none,vgg16-hed,vgg19"], small_experiment())
    experiment, found = costliest_of(small_experiment(), space)
    assert (experiment.loss.perceptual_features, found.flops_generator) == ("vgg16-hed", 5e9)


def test_where_a_step_cannot_be_measured_the_reason_is_told(monkeypatch):
    base = vox256()
    base = replace(
        base, compute=replace(base.compute, device="cuda"), schedule=replace(base.schedule, workers=1)
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    space = read_space(["model.motion_dim=5,10"], base)
    found = forecast(base, space, Slots(count=1, share={"GPU": 1, "CPU": 1}, workers=1), trials=2, machines=1)
    assert found.seconds is None
    assert "wants a GPU" in found.lines()[0]
