"""How much PairDataset costs over bare JPEG decoding of the same frames, on one core.

Both sides run in one process in turns of a few pairs, many times over, and the best time of each turn counts:
other programs can only slow a turn down. The reader's side draws the pair from the sampler, finds its frames
and decodes them; the other side decodes the same JPEGs from bytes that lie ready. "first" passes also read
each clip's index, as the first epoch of training does; "later" passes find it in memory.

    python -m benchmarks.pair_loader [--dataset DIR] [--out FILE]

Without --dataset a small dataset of synthetic 256 px frames of about 12 KB is made and removed.
"""

import argparse
import io
import json
import math
import os
import platform
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image

from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.sampler import PairKey, PairSampler

ROUNDS = 15
TURN = 32  # pairs between changes of side, each of about 15 ms
MAX_PAIRS = 512
STORED = 4  # different frames in a synthetic clip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, help="folder made by `lia prepare`")
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.dataset or synthetic_dataset(Path(folder), clips=512, frames=200, size=256)
        report = measure(root)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def measure(root: Path) -> dict[str, Any]:
    dataset = PairDataset(root, "train")
    sampler = PairSampler(dataset.n_frames, seed=0)
    count = min(MAX_PAIRS, len(dataset))  # one epoch, so that the first pass reads an index for every pair
    jpegs = [stored_jpegs(dataset, sampler.key(position)) for position in range(count)]
    best = {kind: [math.inf] * -(-count // TURN) for kind in ("bare", "first", "later")}
    for _ in range(ROUNDS):
        fresh = PairDataset(root, "train")
        for kind in best:  # in this order: a clip's index is read in "first"
            for number, fastest in enumerate(best[kind]):
                turn = range(number * TURN, min(count, (number + 1) * TURN))
                side = (decode_bare, jpegs) if kind == "bare" else (read_pairs, fresh, sampler)
                best[kind][number] = min(fastest, timed(*side, turn))
    seconds = {kind: sum(times) for kind, times in best.items()}
    return {
        "benchmark": "pair_loader",
        "size": dataset.size,
        "clips": len(dataset),
        "pairs": count,
        "mean_jpeg_bytes": round(statistics.mean(len(jpeg) for pair in jpegs for jpeg in pair)),
        "pairs_per_second_per_core": {kind: round(count / time) for kind, time in seconds.items()},
        "time_over_bare_decoding": {
            kind: round(seconds[kind] / seconds["bare"], 3) for kind in ("first", "later")
        },
        "machine": machine(),
    }


def decode_bare(jpegs: list[list[bytes]], turn: range) -> None:
    for position in turn:
        for jpeg in jpegs[position]:
            simplejpeg.decode_jpeg(jpeg, "RGB")


def read_pairs(dataset: PairDataset, sampler: PairSampler, turn: range) -> None:
    for position in turn:
        key = sampler.key(position)
        dataset.frames(key.clip, (key.source_frame, key.driving_frame))


def stored_jpegs(dataset: PairDataset, key: PairKey) -> list[bytes]:
    return [dataset.jpeg(key.clip, number) for number in (key.source_frame, key.driving_frame)]


def machine() -> dict[str, Any]:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": model[0].split(":")[1].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("simplejpeg", "numpy")},
    }


def timed(work: Callable[..., None], *arguments: Any) -> float:
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def synthetic_dataset(root: Path, *, clips: int, frames: int, size: int) -> Path:
    """One shard of clips of smooth noise. Bare JPEGs stand where the mp4 would be, and frames share them."""
    rng = np.random.default_rng(0)
    rows = []
    with tarfile.open(root / "train-000000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(clips):
            clip_id = f"clip{number:03d}#000000#{frames:06d}"
            jpegs = [synthetic_jpeg(rng, size) for _ in range(STORED)]
            offsets = [0, *np.cumsum([len(jpeg) for jpeg in jpegs]).tolist()]
            record = {
                "clip_id": clip_id,
                "video_fps": "25/1",
                "frame_offsets": [offsets[frame % STORED] for frame in range(frames)],
                "frame_sizes": [len(jpegs[frame % STORED]) for frame in range(frames)],
            }
            mp4_offset, mp4_size = append(tar, f"{clip_id}.mp4", b"".join(jpegs))
            json_offset, json_size = append(tar, f"{clip_id}.json", json.dumps(record).encode())
            rows.append(
                {"clip_id": clip_id, "video_id": clip_id[:7], "subject_id": "", "partition": "train"}
                | {"shard": "train-000000.tar", "mp4_offset": mp4_offset, "mp4_size": mp4_size}
                | {"json_offset": json_offset, "json_size": json_size, "n_frames": frames}
            )
    pq.write_table(pa.Table.from_pylist(rows), root / "manifest.parquet")
    description = {"schema_version": 1, "size": size, "digest": "", "counts": {"written": clips}}
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def synthetic_jpeg(rng: np.random.Generator, size: int) -> bytes:
    """Blurred noise, coded like a clip's frames (4:2:0) and about as long."""
    coarse = Image.fromarray(rng.integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    return simplejpeg.encode_jpeg(smooth, quality=85, colorsubsampling="420")


def append(tar: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int]:
    """Add a member; where its data begins, and how long it is."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    offset = tar.offset + 512
    tar.addfile(member, io.BytesIO(data))
    return offset, len(data)


if __name__ == "__main__":
    main()
