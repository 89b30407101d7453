"""Animation: one source, many driving frames. The source is encoded once and the frames go in batches."""
# B batch, S style_dim, M motion_dim, D magnitudes on a walk, H height, W width

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from lia_model.generator import Generator
from lia_model.layout import channels_last
from lia_model.motion import move

Mode = Literal["absolute", "relative"]


@torch.no_grad()
def animate(
    generator: Generator,
    source_13HW: Tensor,
    driving: Iterable[Tensor],
    mode: Mode = "absolute",
    batch_size: int = 8,
    *,
    start_3HW: Tensor | None = None,
) -> Iterator[Tensor]:
    """One image (3,H,W) a driving frame (3,H,W), in order, as `Generator` gives it: unbounded, to be clamped.

    Absolute: the source takes the driving frame's pose. Relative: it makes the driving video's movement
    since its first frame, or since `start_3HW`, from the source's own pose. Frames are drawn from `driving` one batch
    at a time, so it may be a stream of any length; tensors must be on the generator's device.
    """
    if mode not in ("absolute", "relative"):
        raise ValueError(f'mode must be "absolute" or "relative", got {mode!r}')
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    appearance_1S, features = generator.encode(channels_last(source_13HW))
    directions_SM = generator.directions()
    offset_1M: Tensor | None = None if mode == "relative" else appearance_1S.new_zeros(())
    if mode == "relative" and start_3HW is not None:
        start_1M = generator.motion(generator.encode(channels_last(start_3HW[None]))[0])
        offset_1M = generator.motion(appearance_1S) - start_1M
    frames = iter(driving)
    while batch := list(islice(frames, batch_size)):
        magnitude_BM = generator.motion(generator.encode(channels_last(torch.stack(batch)))[0])
        if offset_1M is None:
            offset_1M = generator.motion(appearance_1S) - magnitude_BM[:1]
        latent_BS = move(appearance_1S, magnitude_BM + offset_1M, directions_SM)
        yield from generator.synthesise(latent_BS, features)


@torch.no_grad()
def walk_directions(
    generator: Generator, source_13HW: Tensor, magnitudes: Sequence[float], batch_size: int = 8
) -> Iterator[Tensor]:
    """For each motion direction in turn, the source moved along it by each magnitude: M times (D,3,H,W)."""
    appearance_1S, features = generator.encode(channels_last(source_13HW))
    directions_SM = generator.directions()
    own_1M = generator.motion(appearance_1S)
    steps_D = torch.as_tensor(magnitudes, dtype=own_1M.dtype, device=own_1M.device)
    for direction in range(directions_SM.shape[1]):
        magnitude_DM = own_1M.repeat(len(steps_D), 1)
        magnitude_DM[:, direction] += steps_D
        latent_DS = move(appearance_1S, magnitude_DM, directions_SM)
        yield torch.cat([generator.synthesise(part_BS, features) for part_BS in latent_DS.split(batch_size)])
