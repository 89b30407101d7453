"""How much faster animating with a driving video is than the published way.

    python -m benchmarks.animation [--frames 200] [--size 256] [--batch 8] [--published-frames N] [--threads N]
        [--device cuda] [--precision bf16]

The published way encodes source and driving frame anew for every frame, one at a time, in the published formulation;
ours encodes the source once and takes the frames in batches. Both animate the same source with the same frames in one
process, in turns of one batch, so that a change in the machine's load meets both; their outputs are compared.
`--published-frames` ends the published side early (its seconds a frame do not change); ours animates all frames.
Prints JSON: seconds a frame and their ratio on the wall clock and in processor time, differences, and the machine.
"""

import argparse
import json
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import published_formulation, sides
from lia_model.animation import animate
from lia_model.config import LiaConfig
from lia_model.published import discriminator_layout, generator_layout

# Frames lie this far apart on a walk from one random smooth image to the next.
FRAMES_A_KEY = 25
SMALL_FLOW = 0.05


def driving_video(frames: int, size: int) -> Tensor:
    """Smooth images that turn into one another: (frames,3,size,size)."""
    keys = torch.randn(frames // FRAMES_A_KEY + 2, 3, 8, 8)
    positions = torch.arange(frames) / FRAMES_A_KEY
    at, share = positions.long(), positions.frac()[:, None, None, None]
    small = keys[at] * (1 - share) + keys[at + 1] * share
    return F.interpolate(small, size=(size, size), mode="bicubic").clamp(-1, 1)


@torch.no_grad()
def measure(
    model: LiaConfig,
    frames: int,
    batch: int,
    device: torch.device | str,
    precision: str,
    published_frames: int,
) -> dict[str, object]:
    torch.manual_seed(0)
    weights = sides.random_published_weights(generator_layout(model))
    sides.small_flows(weights, SMALL_FLOW)
    generator, _ = sides.as_networks(weights, sides.random_published_weights(discriminator_layout(model)))
    generator.to(device)
    weights = {name: tensor.to(device) for name, tensor in weights.items()}
    source = sides.smooth_images(1, model.image_size).to(device)
    video = driving_video(frames, model.image_size).to(device)
    autocast = torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")

    def published(chunk: Tensor) -> list[Tensor]:
        return [published_formulation.generate(weights, source, frame[None])[0] for frame in chunk]

    def ours(batches: Iterator[Tensor]) -> list[Tensor]:
        with autocast:
            return [image for _, image in zip(range(batch), batches, strict=False)]

    published(video[:1])  # warm-up of both
    ours(animate(generator, source, video[:batch], batch_size=batch))
    stream = animate(generator, source, video, batch_size=batch)  # one animation of the whole video
    synchronise = sides.synchroniser(device)
    times: list[tuple[sides.Clocks, sides.Clocks]] = []
    differences: list[float] = []
    own_total = [0.0, 0.0]
    for begin in range(0, frames, batch):
        chunk, images, wanted = video[begin : begin + batch], [], []
        own = sides.seconds(lambda: images.extend(ours(stream)), synchronise)  # noqa: B023
        own_total = [total + clock for total, clock in zip(own_total, own, strict=True)]
        if begin >= published_frames:
            continue
        theirs = sides.seconds(lambda: wanted.extend(published(chunk)), synchronise)  # noqa: B023
        times.append(tuple(tuple(value / len(chunk) for value in side) for side in (theirs, own)))  # type: ignore[misc]
        differences.append(
            max(sides.relative_difference(x.float(), y) for x, y in zip(images, wanted, strict=True))
        )
    return {
        "what": f"animation of {frames} frames, {model.image_size} px, batch {batch}, {precision} against float32",
        "frames_compared": min(published_frames, frames),
        **{name: sides.compare(times, clock) for clock, name in enumerate(sides.CLOCKS)},
        "frames_a_second_ours": {
            name: round(frames / total, 2) for name, total in zip(sides.CLOCKS, own_total, strict=True)
        },
        "output_difference": max(differences),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--published-frames", type=int, help="default: all frames")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's own choice")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    result = measure(
        LiaConfig(image_size=options.size),
        options.frames,
        options.batch,
        options.device,
        options.precision,
        options.published_frames or options.frames,
    )
    print(json.dumps({**result, "machine": sides.machine(options.device)}, indent=2))


if __name__ == "__main__":
    main()
