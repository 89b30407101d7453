"""What a corpus takes on a cluster: cores, GPUs, storage, network, money. Worked out from constants; nothing is run.

    python -m benchmarks.sizing [--set NAME=VALUE ...] [--constants] [--json]

Prints the table of docs/cluster.md ("How large"); with --constants every number that it rests on, each with where it is
from: counted or measured by this project, published or taken from a metadata file, a vendor's figure, or assumed. --set
puts in others, such as your prices: `--set spot_vcpu_hour=0.02 --set gpu_tflops=346 --set gpu_hour=6.88` (an H100).

    preparing   frames x core seconds a frame, a shard a core   reading      once, of shards, by each training node
    shards      frames x bytes a frame                          training     pairs x FLOP a pair / (GPU's FLOP/s)
    raw video   hours up to each video's last clip x 1.5 x bytes an hour

Not in it: downloading and annotating, evaluation, the head, a node's start, idle time, and what goes wrong.
"""

import argparse
import json
import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counted", "measured", "published", "metadata", "vendor", "goal", "assumed", "given"]


@dataclass(frozen=True)
class Constant:
    """A number of the calculation, and where it is from."""

    value: float
    unit: str
    kind: Kind
    source: str


@dataclass(frozen=True)
class Corpus:
    """Clips to prepare and train on."""

    name: str
    clips: float
    frames_a_clip: float
    clip_hours: float
    video_hours: float
    """Of the videos that they are in, up to each one's last clip."""
    source: str


VIDEO_HOURS_A_CLIP_HOUR = 218.6 / 45.3
"""VoxCeleb1's, taken for those whose videos are not known."""

CORPORA = (
    Corpus("TaichiHD", 3_334, 309.8, 9.95, 24.7, "metadata: taichi-metadata.csv"),
    Corpus("VoxCeleb1", 19_764, 206.1, 45.3, 218.6, "metadata: vox-metadata.csv, without repeated rows"),
    Corpus(
        "VoxCeleb2", 1.1e6, 195, 1.1e6 * 7.8 / 3600, 1.1e6 * 7.8 / 3600 * VIDEO_HOURS_A_CLIP_HOUR,
        "published: 7.8 s a clip on average; 25 frames a second; videos as VoxCeleb1's",
    ),
    Corpus(
        "100 million", 100e6, 200, 100e6 * 8 / 3600, 100e6 * 8 / 3600 * VIDEO_HOURS_A_CLIP_HOUR,
        "assumed: 8 s a clip at 25 frames a second; videos as VoxCeleb1's",
    ),
)  # fmt: skip

CONSTANTS = {
    "core_seconds_a_frame": Constant(
        109.3 * 2 / (200 * 184), "s", "measured",
        "experiments.md, preparation against the ffmpeg command line: 200 clips of 184 frames, 720p, 2 cores, 109.3 s",
    ),
    "bytes_a_frame": Constant(9e3, "bytes", "measured", "PrepareConfig.jpeg_q: about 9 KB at 256 px, quality 2"),
    "planned_bytes_a_frame": Constant(
        0.183 * 256**2 + 40, "bytes", "measured",
        "pipelines/preparation/plan.py: what shards are laid out by, on the safe side",
    ),
    "shard_bytes": Constant(256e6, "bytes", "counted", "PrepareConfig.shard_mb"),
    "rest_of_video": Constant(1.5, "times", "assumed", "videos go on after their last clip"),
    "lead_in": Constant(1.5, "times", "assumed", "clips are read from the key frame before, 5 s apart"),
    "raw_bytes_an_hour": Constant(0.9e9, "bytes", "assumed", "2 Mbit/s, of 720p video"),
    "flops_a_pair": Constant(712.1e9, "FLOP", "counted", "training.md: lia train vox256 --dry-run"),
    "recipe_pairs": Constant(800_000 * 32, "pairs", "counted", "vox256: 800,000 steps of 32, the paper's"),
    "gpu_tflops": Constant(
        0.35 * 70, "TFLOP/s", "assumed", "35 % (the goal) of an A10G's 70 in bf16 (vendor); never measured on a GPU"
    ),
    "gpus_a_node": Constant(4, "GPUs", "vendor", "g5.12xlarge"),
    "training_nodes": Constant(2, "nodes", "counted", "cluster.yaml, max_workers of the type gpu"),
    "preparing_cores": Constant(8 * 32, "vCPUs", "counted", "cluster.yaml, max_workers of the type cpu, c6i.8xlarge"),
    "pairs_a_core_second": Constant(2689, "pairs", "measured", "experiments.md, the pair reader against bare decoding"),
    "cache_gb": Constant(300, "GB", "counted", "cluster.yaml, LIA_CACHE_GB: where no instance's disk is mounted"),
    "put_requests_a_shard": Constant(
        30, "requests", "assumed", "10 MB a part of the upload, begin and end of it, the record, a removal"
    ),
    "get_requests_a_shard": Constant(35, "requests", "assumed", "8 MB a read, a few questions for size"),
    "spot_vcpu_hour": Constant(1.36 / 32 / 2, "dollars", "assumed", "c6i.8xlarge, 1.36 an hour, as spot half of it"),
    "gpu_hour": Constant(5.67 / 4, "dollars", "vendor", "g5.12xlarge, list price of us-west-2, 2025, cluster.md"),
    "s3_gb_month": Constant(0.023, "dollars", "vendor", "list price, cluster.md"),
    "efs_gb_month": Constant(0.30, "dollars", "vendor", "list price, cluster.md"),
    "efs_read_gb": Constant(0.03, "dollars", "assumed", "elastic throughput; about the list price: look it up"),
    "efs_written_gb": Constant(0.06, "dollars", "assumed", "elastic throughput; about the list price: look it up"),
    "put_thousand": Constant(0.005, "dollars", "vendor", "S3, list price"),
    "get_thousand": Constant(0.0004, "dollars", "vendor", "S3, list price"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a corpus takes."""

    clips: float
    frames: float
    raw_hours: float
    raw_bytes: float
    core_hours: float
    preparing_hours: float
    """With all of `preparing_cores`; a shard is made on one, so that some are idle where there are fewer shards."""
    shard_bytes: float
    shards: int
    pairs: float
    """The recipe's, or one a clip if that is more."""
    visits_a_clip: float
    gpu_hours: float
    training_hours: float
    """With all GPUs of `training_nodes`."""
    reading_cores: float
    """Cores that decode frames for one GPU."""
    read_bytes: float
    """From the store by all training nodes, if each keeps the whole dataset."""
    fetched_bytes: float
    """The same where a node keeps `cache_gb` only: each pair whose shard is not there brings a whole shard."""
    preparing_network: float
    """Bytes a second between the shared folder, all preparing nodes and the store."""
    requests_money: float
    """Of writing the shards, and of reading them with a cache of `cache_gb`."""
    videos_written_money: float
    """To the shared folder."""
    videos_read_money: float
    """From it while preparing."""
    preparing_money: float
    training_money: float
    s3_month: float
    efs_month: float


def size_of(corpus: Corpus, constants: dict[str, float]) -> Size:
    c = constants
    frames = corpus.clips * corpus.frames_a_clip
    raw_hours = corpus.video_hours * c["rest_of_video"]
    raw_bytes = raw_hours * c["raw_bytes_an_hour"]
    raw_read = corpus.clip_hours * c["lead_in"] * c["raw_bytes_an_hour"]
    core_hours = frames * c["core_seconds_a_frame"] / 3600
    shard_bytes = frames * c["bytes_a_frame"]
    shards = math.ceil(frames * c["planned_bytes_a_frame"] / c["shard_bytes"])
    pairs = max(c["recipe_pairs"], corpus.clips)
    gpu_hours = pairs * c["flops_a_pair"] / (c["gpu_tflops"] * 1e12) / 3600
    gpu_speed = c["gpu_tflops"] * 1e12 / c["flops_a_pair"]
    missed = max(0.0, 1 - c["cache_gb"] * 1e9 / shard_bytes)
    fetched = pairs * missed if missed else shards * c["training_nodes"]  # shards
    preparing_hours = math.ceil(shards / c["preparing_cores"]) * core_hours / shards
    requests = (
        shards * c["put_requests_a_shard"] * c["put_thousand"]
        + fetched * c["get_requests_a_shard"] * c["get_thousand"]
    )
    return Size(
        clips=corpus.clips,
        frames=frames,
        raw_hours=raw_hours,
        raw_bytes=raw_bytes,
        core_hours=core_hours,
        preparing_hours=preparing_hours,
        shard_bytes=shard_bytes,
        shards=shards,
        pairs=pairs,
        visits_a_clip=pairs / corpus.clips,
        gpu_hours=gpu_hours,
        training_hours=gpu_hours / (c["training_nodes"] * c["gpus_a_node"]),
        reading_cores=gpu_speed / c["pairs_a_core_second"],
        read_bytes=shard_bytes * c["training_nodes"],
        fetched_bytes=fetched * shard_bytes / shards,
        preparing_network=(raw_read + shard_bytes) / (preparing_hours * 3600),
        requests_money=requests / 1000,
        videos_written_money=raw_bytes / 1e9 * c["efs_written_gb"],
        videos_read_money=raw_read / 1e9 * c["efs_read_gb"],
        preparing_money=core_hours * c["spot_vcpu_hour"],
        training_money=gpu_hours * c["gpu_hour"],
        s3_month=shard_bytes / 1e9 * c["s3_gb_month"],
        efs_month=raw_bytes / 1e9 * c["efs_gb_month"],
    )


ROWS = (
    ("clips", "clips", 1, ""),
    ("frames", "frames", 1e6, " M"),
    ("raw video, hours", "raw_hours", 1, ""),
    ("raw video, in the shared folder", "raw_bytes", 1e12, " TB"),
    ("preparing, core-hours", "core_hours", 1, ""),
    ("preparing, hours on all CPU nodes", "preparing_hours", 1, ""),
    ("network while preparing", "preparing_network", 1e6, " MB/s"),
    ("shards, in the bucket", "shard_bytes", 1e12, " TB"),
    ("shards, number", "shards", 1, ""),
    ("training, pairs", "pairs", 1e6, " M"),
    ("visits to each clip", "visits_a_clip", 1, ""),
    ("training, GPU-hours", "gpu_hours", 1, ""),
    ("training, hours on all GPU nodes", "training_hours", 1, ""),
    ("read by training, cache holds all", "read_bytes", 1e12, " TB"),
    ("read by training, cache of LIA_CACHE_GB", "fetched_bytes", 1e12, " TB"),
    ("preparing, dollars", "preparing_money", 1, ""),
    ("training, dollars", "training_money", 1, ""),
    ("videos into the shared folder, dollars", "videos_written_money", 1, ""),
    ("videos read while preparing, dollars", "videos_read_money", 1, ""),
    ("requests to the bucket, cache of LIA_CACHE_GB, dollars", "requests_money", 1, ""),
    ("bucket, dollars a month", "s3_month", 1, ""),
    ("shared folder, dollars a month", "efs_month", 1, ""),
)
"""Words, field of `Size`, divisor and unit."""


def shown(value: float, unit: str = "") -> str:
    """Three digits at most that say something."""
    digits = 0 if value == round(value) else min(3, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{digits}f}{unit}"


def table(sizes: dict[str, Size]) -> str:
    """Markdown."""
    lines = ["| | " + " | ".join(sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for words, field, divisor, unit in ROWS:
        values = [getattr(size, field) / divisor for size in sizes.values()]
        lines.append(f"| {words} | " + " | ".join(shown(value, unit) for value in values) + " |")
    return "\n".join(lines)


def chosen(settings: list[str]) -> dict[str, float]:
    """The constants, with those that were given."""
    values = {name: constant.value for name, constant in CONSTANTS.items()}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in values:
            raise SystemExit(f"--set {setting}: there is no {name!r}. There are: {', '.join(values)}")
        try:
            values[name] = float(value)
        except ValueError:
            raise SystemExit(f"--set {setting}: {value!r} is no number") from None
        free = CONSTANTS[name].unit == "dollars"
        if not (0 < values[name] < math.inf or (free and values[name] == 0)):
            raise SystemExit(f"--set {setting}: give a number above 0" + ", or 0 for what is free" * free)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a constant of yours"
    )
    parser.add_argument("--constants", action="store_true", help="say what the table rests on")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    constants = chosen(options.set)
    sizes = {corpus.name: size_of(corpus, constants) for corpus in CORPORA}
    if options.json:
        rows = {name: vars(size) for name, size in sizes.items()}
        print(json.dumps({"benchmark": "sizing", "constants": constants, "sizes": rows}, indent=2))
        return
    if options.constants:
        for corpus in CORPORA:
            print(
                f"{corpus.name:<22} {corpus.clips:>12,.0f} clips of {corpus.frames_a_clip} frames: {corpus.source}"
            )
        for name, constant in CONSTANTS.items():
            given = constants[name] != constant.value
            origin = "given: command line" if given else f"{constant.kind}: {constant.source}"
            print(f"{name:<22} {constants[name]:>12.5g} {constant.unit:<14} {origin}")
        print()
    print(table(sizes))


if __name__ == "__main__":
    main()
