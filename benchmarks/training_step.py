"""How much faster the whole training step is than the published formulation.

    python -m benchmarks.training_step [--size 256] [--batch 2] [--rounds 3] [--threads N] [--device cuda]
        [--precision bf16] [--channels-last] [--compile] [--recompute]

A step is the generator's (L1, VGG19 perceptual at four scales, adversarial), then the discriminator's, with Adam.
Both sides start from the same weights and take the same batches in one process, in turns; the published side is in
float32. VGG19's weights are random with a fixed seed, which costs the same as ImageNet's and needs no file. Prints
JSON: median seconds and the median of the rounds' ratios, on the wall clock and in processor time; the losses of both
sides; and the machine.
"""

import argparse
import json

import torch
from torch import Tensor

from benchmarks import published_formulation, sides
from lia_model.config import LiaConfig
from lia_model.losses import PerceptualLoss
from lia_model.published import discriminator_layout, generator_layout
from orchestration.experiment import ComputeConfig, Experiment
from orchestration.training.step import (
    Networks,
    TrainingStep,
)
from pipelines.cropping.config import PrepareConfig

SMALL_FLOW = 0.05


class BothSides:
    """One training in both formulations, from the same weights."""

    def __init__(
        self,
        model: LiaConfig,
        compute: ComputeConfig,
        device: torch.device | str,
        compile_mode: str | None = None,
    ) -> None:
        generator = sides.random_published_weights(generator_layout(model))
        sides.small_flows(generator, SMALL_FLOW)
        discriminator = sides.random_published_weights(discriminator_layout(model))
        vgg = sides.random_vgg()
        self.published = published_formulation.prepare_training(
            sides.learning(generator, device),
            sides.learning(discriminator, device),
            {name: tensor.to(device) for name, tensor in vgg.state_dict().items()},
        )
        self.ours = our_step(generator, discriminator, PerceptualLoss(vgg), compute, device)
        if compile_mode:
            self.ours.compile(mode=compile_mode)

    def published_step(self, source: Tensor, driving: Tensor) -> dict[str, float]:
        return floats(published_formulation.train_step(self.published, source, driving))

    def our_step(self, source: Tensor, driving: Tensor) -> dict[str, float]:
        return floats(self.ours(source, driving))


def our_step(
    generator_weights: dict[str, Tensor],
    discriminator_weights: dict[str, Tensor],
    perceptual: PerceptualLoss,
    compute: ComputeConfig,
    device: torch.device | str,
) -> TrainingStep:
    generator, discriminator = sides.as_networks(generator_weights, discriminator_weights)
    config = generator.config
    experiment = Experiment(
        name="benchmark", model=config, prepare=PrepareConfig(size=config.image_size), compute=compute
    )
    networks = Networks.create(experiment, device, initial=generator)
    assert networks.discriminator is not None
    networks.discriminator.load_state_dict(discriminator.state_dict())
    return TrainingStep(networks, perceptual, experiment)


def fresh_step(model: LiaConfig, compute: ComputeConfig, device: torch.device | str) -> TrainingStep:
    """Our training step with networks as a run begins with."""
    experiment = Experiment(
        name="benchmark", model=model, prepare=PrepareConfig(size=model.image_size), compute=compute
    )
    return TrainingStep(Networks.create(experiment, device), PerceptualLoss(sides.random_vgg()), experiment)


def floats(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(term) for name, term in terms.items() if name != "generator"}


def measure(
    model: LiaConfig,
    compute: ComputeConfig,
    batch: int,
    rounds: int,
    device: torch.device | str,
    *,
    compile_mode: str | None = None,
    warm_up: int = 1,
) -> dict[str, object]:
    """See above. `compile_mode` has our side compiled in a mode of torch.compile; `warm_up` steps do not count."""
    torch.manual_seed(0)
    both = BothSides(model, compute, device, compile_mode)
    source, driving = (sides.smooth_images(batch, model.image_size).to(device) for _ in range(2))
    losses: dict[str, list[dict[str, float]]] = {"published": [], "ours": []}

    def published() -> None:
        losses["published"].append(both.published_step(source, driving))

    def ours() -> None:
        losses["ours"].append(both.our_step(source, driving))

    for _ in range(warm_up):
        published()
        ours()
    # Before their first steps alone have both sides the same weights.
    first, own_first = losses["published"][0], losses["ours"][0]
    return {
        "what": f"training step, {model.image_size} px, batch {batch}, {compute.precision} against float32",
        "compute": {
            name: getattr(compute, name) for name in ("precision", "channels_last", "compile", "recompute")
        },
        **sides.alternate(published, ours, rounds, device),
        "first_loss_difference": {
            name: abs(own_first[name] - first[name]) / abs(first[name]) for name in first
        },
        "losses": losses,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's own choice")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    for name in ("compile", "recompute"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    compute = ComputeConfig(
        precision=options.precision,
        channels_last=options.channels_last,
        compile=options.compile,
        recompute=options.recompute,
    )
    model = LiaConfig(image_size=options.size)
    result = measure(model, compute, options.batch, options.rounds, options.device)
    print(json.dumps({**result, "machine": sides.machine(options.device)}, indent=2))


if __name__ == "__main__":
    main()
