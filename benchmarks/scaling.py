"""How training would scale to more GPUs, worked out from constants; nothing is run.

    python -m benchmarks.scaling [--pairs 8] [--tflops 340] [--step-seconds S] [--intra-gbps 450] [--inter-gbps 50]

A step of n GPUs in nodes of eight takes

    compute + max(0, exchange - overlap * backward) + straggling(n)

where the exchange is a hierarchical ring all-reduce of the gradients: within the node 2 (g - 1) / g of their bytes
over NVLink, then between the m nodes 2 (m - 1) / m of a GPU's share, 1 / g, over the GPU's own network card, and a
latency for each of the rings' turns. Straggling is the expected maximum of n normally distributed steps. Every constant
is printed with where it comes from: counted or measured by a script of this project, or a vendor's figure, or assumed.
"""

import argparse
import json
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

GPUS = (1, 8, 64, 512)
GPUS_A_NODE = 8


@dataclass(frozen=True)
class Constant:
    """A number of the calculation, and where it is from."""

    value: float
    unit: str
    kind: Literal["counted", "measured", "vendor", "goal", "assumed"]
    source: str


CONSTANTS = {
    "flops_a_pair": Constant(
        712.1e9, "FLOP", "counted", "lia train vox256 --dry-run: FLOPs of the real step on fake tensors"
    ),
    "generator_bytes": Constant(180_459_048, "bytes", "counted", "the same: gradients of the generator, float32"),
    "discriminator_bytes": Constant(96_004_356, "bytes", "counted", "the same: gradients of the discriminator"),
    "backward_share": Constant(
        0.6, "of the step", "assumed", "two of three passes are backward, the perceptual targets have none"
    ),
    "gpu_flops": Constant(
        346e12, "FLOP/s", "goal", "35 % of the bf16 limit, 989 TFLOP/s dense (H100/H200 SXM datasheet)"
    ),
    "intra_bytes": Constant(
        450e9, "bytes/s a direction", "vendor", "NVLink 4, 900 GB/s both ways together (H100/H200 SXM datasheet)"
    ),
    "inter_bytes": Constant(
        50e9, "bytes/s a direction and GPU", "vendor", "a 400 Gb/s ConnectX-7 a GPU (DGX H100 datasheet)"
    ),
    "link_efficiency": Constant(0.7, "of the link", "assumed", "what large all-reduces reach of the stated bandwidth"),
    "turn_seconds": Constant(10e-6, "s", "assumed", "latency of one turn of a ring between nodes, or within one"),
    "overlap": Constant(0.8, "of the backward pass", "assumed", "the first bucket is full only after some layers"),
    "jitter": Constant(0.01, "of a step", "assumed", "standard deviation of a GPU's step"),
}  # fmt: skip


@dataclass(frozen=True)
class StepOf:
    """One row of the table; seconds."""

    gpus: int
    compute: float
    exchange: float
    """Of all gradients, if nothing else were done."""
    exposed: float
    """What of it the backward pass does not hide."""
    straggling: float

    @property
    def seconds(self) -> float:
        return self.compute + self.exposed + self.straggling

    @property
    def efficiency(self) -> float:
        """Share of the step that computes: speed a GPU, compared with one alone."""
        return self.compute / self.seconds


def exchange_seconds(gpus: int, gradient_bytes: float, constants: dict[str, float]) -> float:
    """Hierarchical ring all-reduce of gradients between `gpus` in nodes of eight."""
    local = min(gpus, GPUS_A_NODE)
    nodes = gpus // local
    inside = (
        2 * (local - 1) / local * gradient_bytes / (constants["intra_bytes"] * constants["link_efficiency"])
    )
    between = 2 * (nodes - 1) / nodes * gradient_bytes / local
    between /= constants["inter_bytes"] * constants["link_efficiency"]
    turns = 2 * (local - 1) + 2 * (nodes - 1)
    return inside + between + turns * constants["turn_seconds"]


def straggling_seconds(gpus: int, compute: float, jitter: float) -> float:
    """How much longer than the mean the slowest of `gpus` steps is expected to take (Blom's approximation)."""
    if gpus == 1:
        return 0.0
    return compute * jitter * NormalDist().inv_cdf((gpus - 0.375) / (gpus + 0.25))


def step_of(gpus: int, compute: float, constants: dict[str, float]) -> StepOf:
    # Both networks' gradients are exchanged while their own backward pass runs, each hidden by its share of it.
    gradient_bytes = constants["generator_bytes"] + constants["discriminator_bytes"]
    exchange = exchange_seconds(gpus, gradient_bytes, constants) if gpus > 1 else 0.0
    hidden = compute * constants["backward_share"] * constants["overlap"]
    return StepOf(
        gpus=gpus,
        compute=compute,
        exchange=exchange,
        exposed=max(0.0, exchange - hidden),
        straggling=straggling_seconds(gpus, compute, constants["jitter"]),
    )


def table(pairs: int, constants: dict[str, float], compute: float | None = None) -> list[StepOf]:
    """Weak scaling: `pairs` a GPU at every size; `compute` is one GPU's measured step, else work over speed."""
    seconds = compute or pairs * constants["flops_a_pair"] / constants["gpu_flops"]
    return [step_of(gpus, seconds, constants) for gpus in GPUS]


def described(row: StepOf, pairs: int) -> dict[str, Any]:
    return {
        "gpus": row.gpus,
        "pairs_a_gpu": pairs,
        "global_batch": row.gpus * pairs,
        "compute_ms": round(row.compute * 1e3, 2),
        "exchange_ms": round(row.exchange * 1e3, 2),
        "exposed_ms": round(row.exposed * 1e3, 2),
        "straggling_ms": round(row.straggling * 1e3, 2),
        "step_ms": round(row.seconds * 1e3, 2),
        "efficiency": round(row.efficiency, 3),
        "pairs_a_second": round(row.gpus * pairs / row.seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", default="1,4,8", help="pairs a GPU")
    parser.add_argument("--tflops", type=float, help="speed of one GPU in the step; default: the goal")
    parser.add_argument(
        "--step-seconds", type=float, help="measured step of one GPU, for one number of pairs"
    )
    parser.add_argument("--intra-gbps", type=float, help="GB/s a direction within a node")
    parser.add_argument("--inter-gbps", type=float, help="GB/s a direction between nodes, a GPU")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    constants = {name: constant.value for name, constant in CONSTANTS.items()}
    given = {"gpu_flops": (options.tflops, 1e12), "intra_bytes": (options.intra_gbps, 1e9)}
    given["inter_bytes"] = (options.inter_gbps, 1e9)
    changed = {name: value * unit for name, (value, unit) in given.items() if value is not None}
    constants |= changed
    rows = [
        described(row, pairs)
        for pairs in map(int, options.pairs.split(","))
        for row in table(pairs, constants, options.step_seconds)
    ]
    if options.json:
        print(json.dumps({"benchmark": "scaling", "constants": constants, "rows": rows}, indent=2))
        return
    for name, constant in CONSTANTS.items():
        kind, source = ("given", "command line") if name in changed else (constant.kind, constant.source)
        print(f"{name:<20} {constants[name]:>12.4g} {constant.unit:<28} {kind}: {source}")
    if options.step_seconds:
        print(f"{'compute':<20} {options.step_seconds:>12.4g} {'s':<28} given: command line")
    print("\n" + " ".join(f"{name:>14}" for name in rows[0]))
    for row in rows:
        print(" ".join(f"{value:>14}" for value in row.values()))


if __name__ == "__main__":
    main()
