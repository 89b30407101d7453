"""Everything about speed that needs a GPU, measured by one command.

    python -m benchmarks.gpu [--peak-tflops 989] [--size 256] [--batch 8] [--rounds 5] [--steps 300] [--frames 1000]

Prints one JSON document: the training step against the published formulation in float32, plain, compiled, and with
CUDA graphs, each with its share of the device's dense bfloat16 peak (`--peak-tflops`; the default is an H200's);
animated frames a second; losses of 300 steps in bfloat16 against float32; peak memory with and without recomputed
activations. A part that fails, for want of memory say, is reported as an error and the rest goes on. Without a CUDA
device it says so and ends with status 2.
"""

import argparse
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch

from benchmarks import animation, precision, sides, training_step
from lia_model.animation import animate
from lia_model.config import LiaConfig
from lia_model.generator import Generator
from orchestration.experiment import ComputeConfig

H200_DENSE_BF16_TFLOPS = 989.0
# All convolutions and products of both networks and VGG19, forward and backward, at 256 px.
GFLOP_A_SAMPLE_256 = 730.0
COMPILED_WARM_UP = 4


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Sizes of all parts of the measurement."""

    model: LiaConfig
    device: str
    batch: int
    rounds: int
    steps: int
    frames: int
    peak_tflops: float


# Name -> (compute, mode that torch.compile is given, if any).
VARIANTS: dict[str, tuple[ComputeConfig, str | None]] = {
    "fp32": (ComputeConfig(channels_last=True), None),
    "bf16": (ComputeConfig(precision="bf16", channels_last=True), None),
    "bf16_compiled": (ComputeConfig(precision="bf16", channels_last=True), "default"),
    "bf16_cuda_graphs": (ComputeConfig(precision="bf16", channels_last=True), "reduce-overhead"),
}


def step_speed(setting: Setting, variant: str) -> dict[str, object]:
    """Our step in one variant against the published formulation in float32, and its share of the peak."""
    compute, mode = VARIANTS[variant]
    result = training_step.measure(
        setting.model,
        compute,
        setting.batch,
        setting.rounds,
        setting.device,
        compile_mode=mode,
        warm_up=COMPILED_WARM_UP if mode else 1,
    )
    wall = result["wall"]
    assert isinstance(wall, dict)
    gflop = GFLOP_A_SAMPLE_256 * setting.batch
    share = gflop / 1e3 / wall["seconds_ours"] / setting.peak_tflops if wall["seconds_ours"] else None
    return {
        "ratio": wall["ratio"],
        "seconds_published": wall["seconds_published"],
        "seconds_ours": wall["seconds_ours"],
        "share_of_bf16_peak": share if setting.model.image_size == 256 else None,
        "first_loss_difference": result["first_loss_difference"],
    }


@torch.no_grad()
def frames_a_second(setting: Setting, *, compiled: bool) -> dict[str, float]:
    """Animated frames a second in bfloat16, the driving frames lying on the device."""
    torch.manual_seed(0)
    generator = Generator(setting.model).to(setting.device)
    if compiled:
        generator.encoder.compile()
        generator.synthesis.compile()
    source = sides.smooth_images(1, setting.model.image_size).to(setting.device)
    video = animation.driving_video(setting.frames, setting.model.image_size).to(setting.device)

    def run(frames: int) -> None:
        kind = torch.device(setting.device).type
        with torch.autocast(kind, dtype=torch.bfloat16):
            for _ in animate(generator, source, islice(iter(video), frames), batch_size=setting.batch):
                pass

    run(2 * setting.batch)  # warm-up
    whole = setting.frames - setting.frames % setting.batch  # a last, smaller batch would be compiled anew
    wall, _ = sides.seconds(lambda: run(whole), sides.synchroniser(setting.device))
    return {"frames_a_second": round(whole / wall, 1)}


def bf16_losses(setting: Setting) -> dict[str, object]:
    """Losses of a training in bfloat16 against one in float32."""
    return precision.measure(setting.model, steps=setting.steps, batch=4, lr=0.0005, device=setting.device)


def peak_memory(setting: Setting, compute: ComputeConfig) -> dict[str, float]:
    """GiB that PyTorch had allocated at most during two steps, networks and optimisers included."""
    torch.manual_seed(0)
    source, driving = (
        sides.smooth_images(setting.batch, setting.model.image_size).to(setting.device) for _ in range(2)
    )
    step = training_step.fresh_step(setting.model, compute, setting.device)
    on_gpu = torch.device(setting.device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):  # the first one makes the optimisers' moments
        step(source, driving)
    return {"gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")}


def parts(setting: Setting) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    steps: dict[str, Callable[[], object]] = {
        f"step_{variant}": lambda variant=variant: step_speed(setting, variant) for variant in VARIANTS
    }
    memory: dict[str, Callable[[], object]] = {
        f"peak_memory_{kind}{'_recompute' if recompute else ''}": lambda kind=kind, recompute=recompute: (
            peak_memory(setting, ComputeConfig(precision=kind, channels_last=True, recompute=recompute))
        )
        for kind in ("fp32", "bf16")
        for recompute in (False, True)
    }
    return {
        **steps,
        "animation": lambda: frames_a_second(setting, compiled=False),
        "animation_compiled": lambda: frames_a_second(setting, compiled=True),
        "bf16_losses": lambda: bf16_losses(setting),
        **memory,
    }


def measure(setting: Setting) -> dict[str, object]:
    """All parts; one that fails is an `error` among the results."""
    results: dict[str, object] = {}
    for name, part in parts(setting).items():
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            results[name] = part()
        except Exception as error:  # noqa: BLE001 - a compiler's errors are of many kinds; the other parts are worth having
            results[name] = {"error": f"{type(error).__name__}: {error}"}
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return results


def rehearsal() -> Setting:
    """Every part at a size that a CPU is done with at once; the figures mean nothing."""
    model = LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.03)
    return Setting(model=model, device="cpu", batch=2, rounds=1, steps=3, frames=5, peak_tflops=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peak-tflops", type=float, default=H200_DENSE_BF16_TFLOPS)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rehearse", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rehearse:
        setting = rehearsal()
    elif not torch.cuda.is_available():
        print(
            "benchmarks.gpu: PyTorch sees no CUDA device here; run it on a machine with one", file=sys.stderr
        )
        sys.exit(2)
    else:
        setting = Setting(
            model=LiaConfig(image_size=options.size),
            device="cuda",
            batch=options.batch,
            rounds=options.rounds,
            steps=options.steps,
            frames=options.frames,
            peak_tflops=options.peak_tflops,
        )
    result = {
        "what": f"training and animation, {setting.model.image_size} px, batch {setting.batch}",
        "peak_tflops": setting.peak_tflops,
        "tf32_in_convolutions": torch.backends.cudnn.allow_tf32,
        **measure(setting),
        "machine": sides.machine(setting.device),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
