"""Write the golden files from the reference formulation: python -m tests.parity.make_golden"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.parity import reference, reference_losses, seeded
from tests.parity.seeded import SeededWeights
from tests.parity.toys import TOYS, Toy
from tests.parity.training import Implementation, train, training_pair

GOLDEN = Path(__file__).parent / "golden"
TRAINING_TOY = "32"
TRAINING_STEPS = 3


def images(batch: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Source, driving and driving start, in float64."""
    source, driving, start = (
        seeded.image(name, batch, size).double() for name in ("source", "driving", "start")
    )
    return source, driving, start


@torch.no_grad()
def forward(toy: Toy) -> dict[str, Tensor]:
    """Every output that parity is held in, by the names that the golden files use."""
    sizes, g, d = toy.sizes, SeededWeights("gen"), SeededWeights("dis")
    source, driving, start = images(toy.batch, toy.config.image_size)
    codes = {name: reference.encode(g, sizes, x)[0] for name, x in (("driving", driving), ("start", start))}
    return {
        "wa": reference.encode(g, sizes, source)[0],
        "alpha_driving": reference.motion(g, sizes, codes["driving"]),
        "alpha_start": reference.motion(g, sizes, codes["start"]),
        "directions": reference.directions(g, sizes),
        "recon": reference.generate(g, sizes, source, driving),
        "reference_image": reference.generate(g, sizes, source),
        "relative": reference.generate_relative(g, sizes, source, driving, start),
        "logits": reference.discriminate(d, sizes, source),
    }


def seeded_training(toy: Toy) -> Implementation:
    """The reference's networks and losses, ready to train."""
    g, d = SeededWeights("gen"), SeededWeights("dis")
    with torch.no_grad():  # makes the weights
        source, driving = training_pair(0, toy.batch, toy.config.image_size)
        reference.generate(g, toy.sizes, source, driving)
        reference.discriminate(d, toy.sizes, source)
    vgg = {}

    def vgg_weights(name: str, *shape: int) -> Tensor:
        if name not in vgg:
            vgg[name] = seeded.vgg_weight(name, *shape).double()
        return vgg[name]

    return Implementation(
        generate=partial(reference.generate, g, toy.sizes),
        discriminate=partial(reference.discriminate, d, toy.sizes),
        perceptual_per_scale=partial(reference_losses.perceptual_loss, vgg_weights),
        generator_adversarial_loss=reference_losses.generator_adversarial_loss,
        discriminator_loss=reference_losses.discriminator_loss,
        generator_parameters=list(g.tensors.values()),
        discriminator_parameters=list(d.tensors.values()),
    )


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, toy in TOYS.items():
        arrays = {key: value.numpy().astype(np.float32) for key, value in forward(toy).items()}
        np.savez_compressed(GOLDEN / f"forward_{name}.npz", **arrays)
    toy = TOYS[TRAINING_TOY]
    made = seeded_training(toy)
    steps = list(train(made, steps=TRAINING_STEPS, batch=toy.batch, size=toy.config.image_size))
    (GOLDEN / f"train_{TRAINING_TOY}.json").write_text(json.dumps({"steps": steps}, indent=1) + "\n")
    with torch.no_grad():
        after = made.generate(*images(toy.batch, toy.config.image_size)[:2])
    np.savez_compressed(GOLDEN / f"train_{TRAINING_TOY}.npz", recon_after=after.numpy())


if __name__ == "__main__":
    main()
