"""One optimisation step: what it updates, what it reports, and that it is the published implementation's."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lia_model.config import LiaConfig
from lia_model.losses import PerceptualLoss
from lia_model.vgg import VggFeatures
from orchestration.experiment import ComputeConfig, Experiment, LossConfig, OptimiserConfig, ScheduleConfig
from orchestration.training.step import (
    DISCRIMINATOR_LAZY_RATIO,
    GENERATOR_LAZY_RATIO,
    Networks,
    Share,
    TrainingStep,
    adam,
)
from pipelines.cropping.config import PrepareConfig
from tests.parity.implementations import seeded_networks, seeded_perceptual, seeded_training
from tests.parity.make_golden import TRAINING_TOY
from tests.parity.toys import TOYS
from tests.parity.training import train, training_pair

TINY = Experiment(
    name="tiny",
    model=LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.03),
    prepare=PrepareConfig(size=32),
    loss=LossConfig(perceptual=0.0, perceptual_features="none"),
    schedule=ScheduleConfig(steps=4, batch_size=4, workers=1),
)


def images(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_step_updates_both_networks_and_reports_every_term():
    networks = Networks.create(TINY)
    before = [p.clone() for p in networks.generator.parameters()]
    critic_before = [p.clone() for p in networks.discriminator.parameters()]
    terms = TrainingStep(networks, None, TINY)(images(4, 3, 32, 32, seed=0), images(4, 3, 32, 32, seed=1))
    assert set(terms) == {"l1", "adversarial", "generator", "discriminator"}
    assert all(torch.isfinite(term) and not term.requires_grad for term in terms.values())
    assert terms["generator"] == terms["l1"] + terms["adversarial"]
    assert all((p != q).any() for p, q in zip(networks.generator.parameters(), before, strict=True))
    assert any(
        (p != q).any() for p, q in zip(networks.discriminator.parameters(), critic_before, strict=True)
    )
    assert all(p.requires_grad for p in networks.discriminator.parameters())


def test_a_small_initial_flow_begins_at_the_unwarped_source():
    experiment = replace(TINY, optimiser=replace(TINY.optimiser, initial_flow=1e-3))
    published, small = Networks.create(TINY).generator, Networks.create(experiment).generator
    for name, weight in published.state_dict().items():
        scale = 1e-3 if name.endswith("flow.weight") else 1
        torch.testing.assert_close(small.state_dict()[name], weight * scale)
    fetched = []
    stage = small.synthesis.stages[0]
    stage.flow.register_forward_hook(lambda head, inputs, output: fetched.append(output))
    small(images(2, 3, 32, 32, seed=0), images(2, 3, 32, 32, seed=1))
    assert fetched[0].abs().max() < 0.1  # a twentieth of the image; mask one half


def test_without_adversarial_weight_there_is_no_discriminator():
    experiment = replace(TINY, loss=replace(TINY.loss, adversarial=0.0))
    networks = Networks.create(experiment)
    assert networks.discriminator is None
    terms = TrainingStep(networks, None, experiment)(
        images(2, 3, 32, 32, seed=0), images(2, 3, 32, 32, seed=1)
    )
    assert set(terms) == {"l1", "generator"}


def test_steps_reduce_the_reconstruction_error_of_one_batch():
    experiment = replace(TINY, loss=replace(TINY.loss, adversarial=0.0))
    step = TrainingStep(Networks.create(experiment), None, experiment)
    source, driving = images(2, 3, 32, 32, seed=0), F.avg_pool2d(images(2, 3, 32, 32, seed=1), 5, 1, 2)
    errors = [float(step(source, driving)["l1"]) for _ in range(30)]
    assert errors[-1] < 0.7 * errors[0]


def test_initial_weights_depend_only_on_the_seed():
    state = torch.get_rng_state()
    first, second = (Networks.create(TINY).generator.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(state, torch.get_rng_state())
    other = Networks.create(replace(TINY, schedule=replace(TINY.schedule, seed=1))).generator.state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_perceptual_weight_needs_a_perceptual_loss():
    with pytest.raises(ValueError, match="needs a PerceptualLoss"):
        TrainingStep(Networks.create(TINY), None, replace(TINY, loss=LossConfig()))


def test_bf16_keeps_weights_and_optimiser_in_float32():
    networks = Networks.create(TINY)
    terms = TrainingStep(networks, None, replace(TINY, compute=ComputeConfig(precision="bf16")))(
        images(2, 3, 32, 32, seed=0), images(2, 3, 32, 32, seed=1)
    )
    assert all(torch.isfinite(term) for term in terms.values())
    assert {p.dtype for p in networks.generator.parameters()} == {torch.float32}
    moments = [state["exp_avg"].dtype for state in networks.generator_optimiser.state.values()]
    assert set(moments) == {torch.float32}


def test_adam_carries_the_lazy_ratio():
    optimiser = adam(torch.nn.Linear(1, 1), OptimiserConfig(), 0.5)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.001)
    assert optimiser.param_groups[0]["betas"] == (0.0, pytest.approx(0.99**0.5))


def gradients(experiment: Experiment, share: Share | None, ranks: int) -> dict[str, torch.Tensor]:
    """Mean over ranks of the generator's gradients for one batch of six pairs, and the mean of the L1 terms."""
    source, driving = images(6, 3, 32, 32, seed=0), images(6, 3, 32, 32, seed=1)
    found: list[dict[str, torch.Tensor]] = []
    for rank in range(ranks):
        networks = Networks.create(experiment)
        step = TrainingStep(networks, None, experiment, share=share)
        terms = step(source[rank::ranks], driving[rank::ranks])
        found.append(
            {name: p.grad for name, p in networks.generator.named_parameters()} | {"l1 term": terms["l1"]}
        )
    return {name: torch.stack([one[name] for one in found]).mean(0) for name in found[0]}


@pytest.mark.parametrize(("ranks", "micro_batch"), [(1, 2), (1, 4), (2, 2), (4, 1), (4, 2)])
def test_a_batch_in_parts_or_shared_unevenly_gives_the_same_gradients(ranks, micro_batch):
    experiment = replace(TINY, loss=replace(TINY.loss, adversarial=0.0))
    whole = gradients(experiment, None, 1)
    shared = gradients(experiment, Share(batch_size=6, micro_batch_size=micro_batch, ranks=ranks), ranks)
    for name, gradient in whole.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-3, atol=1e-5)


def test_the_moving_average_follows_the_generator():
    experiment = replace(TINY, optimiser=replace(TINY.optimiser, ema=0.75))
    networks = Networks.create(experiment)
    assert networks.model is networks.average
    before = {name: tensor.clone() for name, tensor in networks.average.state_dict().items()}
    TrainingStep(networks, None, experiment)(images(2, 3, 32, 32, seed=0), images(2, 3, 32, 32, seed=1))
    for name, weight in networks.generator.state_dict().items():
        torch.testing.assert_close(networks.average.state_dict()[name], 0.75 * before[name] + 0.25 * weight)
    assert not any(p.requires_grad for p in networks.average.parameters())
    without = Networks.create(TINY)
    assert without.model is without.generator


def test_sparsity_is_the_mean_magnitude_of_the_driving_image():
    experiment = replace(TINY, loss=replace(TINY.loss, sparsity=0.5))
    networks = Networks.create(experiment)
    source, driving = images(2, 3, 32, 32, seed=0), images(2, 3, 32, 32, seed=1)
    magnitude = networks.generator.motion(networks.generator.encode(driving)[0]).abs().mean().item()
    terms = TrainingStep(networks, None, experiment)(source, driving)
    assert terms["sparsity"].item() == pytest.approx(0.5 * magnitude, rel=1e-5)


def test_three_steps_are_those_of_the_plainest_form():
    """In float64, against the loop that the published implementation's golden files are held to."""
    toy = TOYS[TRAINING_TOY]
    plain = list(train(seeded_training(toy.config), steps=3, batch=toy.batch, size=toy.config.image_size))
    generator, discriminator = (network.double() for network in seeded_networks(toy.config))
    networks = Networks(
        generator=generator,
        generator_optimiser=adam(generator, OptimiserConfig(), GENERATOR_LAZY_RATIO),
        average=None,
        discriminator=discriminator,
        discriminator_optimiser=adam(discriminator, OptimiserConfig(), DISCRIMINATOR_LAZY_RATIO),
    )
    step = TrainingStep(networks, seeded_perceptual(), Experiment(name="published"))
    for number, want in enumerate(plain):
        terms = step(*training_pair(number, toy.batch, toy.config.image_size))
        got = {name: float(term) for name, term in terms.items()}
        assert got["l1"] == pytest.approx(want["l1"], rel=1e-9)
        assert got["perceptual"] == pytest.approx(want["perceptual"], rel=1e-9)
        assert got["adversarial"] == pytest.approx(want["adversarial_g"], rel=1e-9)
        assert got["discriminator"] == pytest.approx(want["loss_d"], rel=1e-9)


FULL = replace(
    TINY, loss=replace(TINY.loss, perceptual=10.0, perceptual_features="vgg19", perceptual_scales=(1.0, 0.5))
)


def two_steps(compute: ComputeConfig, wrap=None) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Losses of two steps with all terms, and the generator's weights after them."""
    torch.manual_seed(0)
    perceptual = PerceptualLoss(VggFeatures(), FULL.loss.perceptual_scales)
    experiment = replace(FULL, compute=compute)
    networks = Networks.create(experiment)
    step = TrainingStep(networks, perceptual, experiment, wrap=wrap)
    pair = images(2, 3, 32, 32, seed=0), images(2, 3, 32, 32, seed=1)
    losses = [{name: float(term) for name, term in step(*pair).items()} for _ in range(2)]
    return losses, networks.generator.state_dict()


@pytest.fixture
def process_group():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def distributed(network: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)


@pytest.mark.parametrize("wrapped", [False, True])
def test_recomputed_activations_train_the_same_weights(wrapped, request):
    wrap = None
    if wrapped:
        request.getfixturevalue("process_group")
        wrap = distributed
    plain_losses, plain = two_steps(ComputeConfig())
    losses, weights = two_steps(ComputeConfig(recompute=True), wrap)
    assert losses == plain_losses
    assert all(torch.equal(weights[name], plain[name]) for name in plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler looks at what is deprecated
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_networks_train_alike_and_keep_their_names(recompute, process_group, monkeypatch):
    original = torch.nn.Module.compile
    compiled = []

    def without_a_compiler(module, **options):
        compiled.append(type(module).__name__)
        original(module, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", without_a_compiler)
    plain_losses, plain = two_steps(ComputeConfig())
    losses, weights = two_steps(ComputeConfig(compile=True, recompute=recompute), distributed)
    assert len(compiled) == 3
    assert weights.keys() == plain.keys()
    for got, want in zip(losses, plain_losses, strict=True):
        assert got == pytest.approx(want, rel=1e-4)


def test_channels_last_changes_losses_by_rounding_only():
    losses, _ = two_steps(ComputeConfig(channels_last=True))
    plain_losses, _ = two_steps(ComputeConfig())
    assert losses[0] == pytest.approx(plain_losses[0], rel=1e-5)
