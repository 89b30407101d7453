"""What a dry run says, against numbers worked out in another way."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lia_model.config import LiaConfig
from orchestration import configuration
from orchestration.cli import main
from orchestration.experiment import ComputeConfig, Experiment, LossConfig, OptimiserConfig, ScheduleConfig
from orchestration.recipes import demo
from orchestration.training import estimate as estimate_module
from orchestration.training import measured_step
from orchestration.training.checkpoint import Progress, Snapshot
from orchestration.training.estimate import Estimate, data_size, estimate, ring_all_reduce_bytes
from orchestration.training.estimate_report import readable_bytes, report
from orchestration.training.measured_step import MeasuredStep, Place, measure_step, this_machine
from orchestration.training.simulated_step import LiveBytes, SavedBytes, simulate_step
from orchestration.training.step import Networks, TrainingStep
from pipelines.cropping.config import PrepareConfig

CHECKOUT = Path(__file__).parents[4]
MB = 1_000_000
TINY = Experiment(
    name="tiny",
    model=LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.03),
    prepare=PrepareConfig(size=32),
    loss=LossConfig(perceptual=0.0, perceptual_features="none"),
    schedule=ScheduleConfig(steps=10, batch_size=4, workers=1),
    compute=ComputeConfig(device="cpu"),
)


def scheduled(experiment: Experiment, **changes) -> Experiment:
    return replace(experiment, schedule=replace(experiment.schedule, **changes))


def test_kept_activations_are_those_counted_by_hand():
    """Two linear layers with a tanh between: kept are the input, tanh's output (once), and nothing of the last sum."""
    network = nn.Sequential(nn.Linear(10, 7), nn.Tanh(), nn.Linear(7, 5))
    x = torch.zeros(3, 10)
    saved = SavedBytes(network.parameters())
    with saved:
        y = network(x).sum()
    assert saved.peak == 4 * (3 * 10 + 3 * 7)
    y.backward()


def test_kept_activations_of_a_convolution_are_its_input_alone():
    convolution = nn.Conv2d(3, 8, 3, padding=1)
    saved = SavedBytes(convolution.parameters())
    with saved:
        y = convolution(torch.zeros(2, 3, 16, 16))
    assert saved.peak == 4 * 2 * 3 * 16 * 16
    del y


def test_kept_activations_are_counted_once_and_forgotten_with_their_graph():
    x = torch.ones(1000, requires_grad=True)
    saved = SavedBytes()
    with saved:
        for _ in range(3):
            y = x.exp()  # kept by both: one storage
            (y * y).sum().backward()
            del y
    assert saved.peak == 4 * 1000


def test_live_bytes_rise_and_fall_with_storages():
    live = LiveBytes()
    with live:
        kept = torch.zeros(1000)
        view = kept[:10]
        dropped = torch.zeros(500)
        del dropped
        other = torch.zeros(200)
    assert live.peak == 4 * 1500
    live.reset_peak()
    assert live.peak == 4 * 1200
    del kept
    live.reset_peak()
    assert live.peak == 4 * 1200, "the view keeps its storage"
    del view, other
    live.reset_peak()
    assert live.peak == 0


@pytest.mark.parametrize("channels_last", [False, True])
def test_sizes_and_arithmetic_are_those_of_the_real_networks(channels_last):
    experiment = replace(
        TINY,
        compute=ComputeConfig(channels_last=channels_last),
        optimiser=OptimiserConfig(ema=0.9),
    )
    networks = Networks.create(experiment)
    step = TrainingStep(networks, None, experiment)
    with FlopCounterMode(display=False) as work:
        step(torch.zeros(4, 3, 32, 32), torch.zeros(4, 3, 32, 32))
    found = simulate_step(experiment)
    assert found.flops == work.get_total_flops() / 4
    numbers = [sum(p.numel() for p in n.parameters()) for n in (networks.generator, networks.discriminator)]
    assert [network.trainable for network in found.networks] == numbers
    assert [network.unused for network in found.networks] == [0, 0]
    moments = sum(
        value.numel() * value.element_size()
        for optimiser in (networks.generator_optimiser, networks.discriminator_optimiser)
        for state in optimiser.state.values()
        for name, value in state.items()
        if name != "step"
    )
    assert found.optimiser_bytes == moments == 8 * sum(numbers)
    gradients = sum(
        p.grad.numel() * 4 for n in (networks.generator, networks.discriminator) for p in n.parameters()
    )
    assert found.gradient_bytes == gradients
    assert found.average_bytes == 4 * numbers[0]


def test_memory_grows_with_pairs_and_shrinks_with_parts_and_precision():
    of = {pairs: simulate_step(scheduled(TINY, batch_size=pairs)) for pairs in (4, 8, 16)}
    # What does not depend on the batch falls out of differences.
    more = of[8].saved_generator - of[4].saved_generator
    assert of[16].saved_generator - of[8].saved_generator == pytest.approx(2 * more, rel=0.02)
    parts = simulate_step(scheduled(TINY, batch_size=16, micro_batches=4))
    # Views of a part keep the whole batch of images.
    assert parts.saved_generator == pytest.approx(of[4].saved_generator, rel=0.1)
    assert of[4].peak < parts.peak < of[16].peak / 2
    assert parts.flops == pytest.approx(of[4].flops, rel=0.01)
    half = simulate_step(replace(scheduled(TINY, batch_size=16), compute=ComputeConfig(precision="bf16")))
    assert 0.4 < half.saved_generator / of[16].saved_generator < 0.9
    larger = replace(TINY, model=replace(TINY.model, image_size=64), prepare=PrepareConfig(size=64))
    assert simulate_step(larger).saved_discriminator > 2 * of[4].saved_discriminator


def test_workers_hold_on_to_their_gradients():
    alone = simulate_step(scheduled(TINY, batch_size=4))
    of_two = simulate_step(scheduled(TINY, batch_size=8, workers=2))
    assert of_two.saved_generator == alone.saved_generator
    assert 0 < of_two.peak - alone.peak <= alone.gradient_bytes


@pytest.mark.slow
def test_the_peak_is_near_the_memory_that_a_real_step_takes():
    experiment = replace(
        demo(),
        model=LiaConfig(image_size=64, style_dim=64, motion_dim=8, width=0.25),
        loss=LossConfig(perceptual=0.0, perceptual_features="none"),
        schedule=ScheduleConfig(batch_size=16, workers=1),
    )
    given = json.dumps(configuration.to_dict(experiment))
    # glibc's own, moving threshold keeps up to a third more of so small a network's tensors in a fragmented heap.
    without_fragments = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
    measured = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--measure-this", given],
        cwd=CHECKOUT, env=without_fragments, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert simulate_step(experiment).peak == pytest.approx(int(measured), rel=0.12)


@pytest.mark.parametrize(("workers", "factor"), [(1, 0), (2, 1), (4, 1.5), (64, 1.96875)])
def test_a_ring_sends_nearly_twice_the_gradients(workers, factor):
    assert ring_all_reduce_bytes(1024, workers) == 1024 * factor


def test_a_ring_simulated_sends_as_many_bytes():
    workers, sent = 5, [0] * 5
    data = [[float(rank + share) for share in range(workers)] for rank in range(workers)]
    for phase in ("add", "copy"):
        for turn in range(workers - 1):
            first = 0 if phase == "add" else 1
            moves = [(rank, (rank + first - turn) % workers) for rank in range(workers)]
            values = [data[rank][share] for rank, share in moves]
            for (rank, share), value in zip(moves, values, strict=True):
                after = (rank + 1) % workers
                data[after][share] = value + (data[after][share] if phase == "add" else 0)
                sent[rank] += 1
    assert all(row == [sum(range(workers)) + workers * share for share in range(workers)] for row in data)
    assert sent == [ring_all_reduce_bytes(workers, workers)] * workers


def test_a_checkpoint_is_as_large_as_it_was_said_to_be(tmp_path):
    experiment = replace(TINY, optimiser=OptimiserConfig(ema=0.9))
    networks = Networks.create(experiment)
    images = torch.zeros(4, 3, 32, 32)
    TrainingStep(networks, None, experiment)(images, images)
    config = configuration.to_dict(experiment)
    progress = Progress(step=1, pairs_seen=4, epoch=0, config=config, dataset_digest="d", world_size=1)
    Snapshot.take(networks, progress, torch.get_rng_state()[None]).write(tmp_path / "step")
    size = sum(path.stat().st_size for path in (tmp_path / "step").rglob("*") if path.is_file())
    # A name and a header for each of some hundred small tensors come on top.
    assert made(experiment).checkpoint_bytes == pytest.approx(size, abs=0.3 * MB)


def made(experiment: Experiment, **changes) -> Estimate:
    place = Place(
        device=torch.device("cpu"), name="a machine", memory=10**12, free=10**12, workers=1, threads=1
    )
    found = Estimate(
        experiment=experiment,
        step=simulate_step(experiment),
        place=place,
        measured=MeasuredStep(pairs=2, seconds=0.5, rounds=3),
        data=None,
    )
    return replace(found, **changes)


def test_time_and_traffic_follow_from_what_was_measured():
    found = made(scheduled(TINY, batch_size=16, workers=4, steps=100, keep_checkpoints=2))
    assert found.step_seconds == 1.0  # four pairs a worker, at four pairs a second
    assert found.sent_bytes == found.step.gradient_bytes * 3 // 2
    assert found.disk_bytes == 4 * found.checkpoint_bytes
    said = report(found)
    assert "0:01:40 with 4 such workers" in said
    assert ", one of 4 such, a worker each: fits" in said
    assert "DOES NOT FIT" in report(replace(found, place=replace(found.place, memory=MB)))


def test_nothing_is_measured_where_it_would_not_fit_or_not_run():
    here = this_machine(TINY)
    assert "100.0 GB" in measure_step(TINY, replace(here, free=MB), needed=100_000 * MB, seconds=1)
    said = measure_step(TINY, replace(here, device=None), needed=1, seconds=1)
    assert "GPU" in said
    assert f"not measured: {said}" in report(made(TINY, measured=said))


def test_measuring_takes_real_steps_and_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    found = measure_step(TINY, this_machine(TINY), needed=1, seconds=250)
    assert isinstance(found, MeasuredStep)
    assert found.pairs == 4
    assert found.rounds > 1
    assert found.seconds > 0
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_the_first_step_is_never_what_is_measured(monkeypatch):
    """Loading kernels can take longer than all the time there is."""
    clock, durations = [0.0], iter([30.0, 0.5])
    monkeypatch.setattr(measured_step.time, "perf_counter", lambda: clock[0])

    def step(self, source, driving):
        clock[0] += next(durations)

    monkeypatch.setattr(measured_step.TrainingStep, "__call__", step)
    found = measure_step(TINY, this_machine(TINY), needed=1, seconds=15)
    assert found == MeasuredStep(pairs=1, seconds=0.5, rounds=1)


def test_the_report_counts_the_dataset(monkeypatch):
    class Clips:
        size = 64
        n_frames = torch.tensor([3, 5, 4])

        def __init__(self, *_: object) -> None: ...
        def __len__(self) -> int:
            return 3

    monkeypatch.setattr(estimate_module, "PairDataset", Clips)
    monkeypatch.setattr(estimate_module, "count_clips", lambda _: {"train": 3, "test": 2})
    data = data_size(None)
    assert data.epochs(TINY) == 10 * 4 / 3
    said = report(made(TINY, data=data))
    assert "3 with 12 frames, 2 held out" in said
    assert "13.3" in said
    assert "clips are 64 px, the model wants 32 px" in said


def test_the_command_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate_module, "MEASURING_SECONDS", 1.0)
    small = ("--model.image_size", "32", "--prepare.size", "32", "--model.width", "0.03")
    assert main(["train", "demo", "--dry-run", *small]) == 0
    said = capsys.readouterr().out
    assert "nothing is written" in said
    assert "peak of a step" in said
    assert not list(tmp_path.iterdir())
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_bytes_are_readable():
    assert [readable_bytes(n) for n in (12, 1500, 2.5e6, 1.234e10)] == [
        "12 bytes", "1.50 kB", "2.50 MB", "12.34 GB"
    ]  # fmt: skip


def test_the_whole_estimate_holds_together():
    found = estimate(TINY, seconds=1.0)
    assert found.fits
    assert found.step.peak > found.step.saved_generator + found.step.optimiser_bytes
    assert found.step_seconds > 0
