"""How much faster lia_model's generator is than the published formulation, forward and backward.

    python -m benchmarks.model_step [--size 256] [--batch 2] [--rounds 5] [--threads N] [--device cuda]

Both sides compute the same function of the same weights in one process. Rounds alternate, so that a change in the
machine's load meets both. Prints JSON: median seconds and the median of the rounds' ratios, on the wall clock and
in processor time; the largest differences of the outputs and of the motion basis's gradients; and the machine.
"""

import argparse
import json
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import published_formulation, sides
from lia_model.config import LiaConfig
from lia_model.layout import channels_last
from lia_model.published import discriminator_layout, generator_layout


def forward_backward(run: Callable[[], Tensor], parameters: list[Tensor]) -> Tensor:
    for parameter in parameters:
        parameter.grad = None
    image = run()
    image.square().mean().backward()
    return image.detach()


def measure(size: int, batch: int, rounds: int, device: str) -> dict[str, object]:
    torch.manual_seed(0)
    config = LiaConfig(image_size=size)
    weights = sides.random_published_weights(generator_layout(config))
    generator, _ = sides.as_networks(weights, sides.random_published_weights(discriminator_layout(config)))
    generator.to(device)
    weights = sides.learning(weights, device)
    source, driving = (sides.smooth_images(batch, size).to(device) for _ in range(2))
    ours_parameters = list(generator.parameters())

    def published() -> Tensor:
        image = lambda: published_formulation.generate(weights, source, driving)  # noqa: E731
        return forward_backward(image, list(weights.values()))

    def ours() -> Tensor:
        return forward_backward(
            lambda: generator(channels_last(source), channels_last(driving)), ours_parameters
        )

    difference = sides.relative_difference(ours(), published())  # also the warm-up of both
    basis = sides.relative_difference(
        generator.motion_basis.weight.grad, weights["dec.direction.weight"].grad
    )
    return {
        "what": f"generator forward and backward, {size} px, batch {batch}, float32",
        **sides.alternate(published, ours, rounds, device),
        "output_difference": difference,
        "basis_gradient_difference": basis,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's own choice")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    result = measure(options.size, options.batch, options.rounds, options.device)
    print(json.dumps({**result, "machine": sides.machine(options.device)}, indent=2))


if __name__ == "__main__":
    main()
