"""What a dataset's tables cost: those of a million clips, written as `prepare` does and read as training does.

    python -m benchmarks.large_manifest [--clips 1000000] [--out FILE]

The clips are planned from a metadata file like VoxCeleb's; their records are made up (random digests, offsets in a
row), their shards are empty files of the right length. Each side runs in a process of its own, so that its peak memory
means something; the interpreter with its libraries is in it (`nothing_mb`). Prints JSON: seconds of processor time, MB.

    write   the manifest from all shards' records, which the driver holds at once
    index   `read_clip_index` of the training clips: every training worker, and each of its readers, holds one
    shard   a shard's rows picked from the manifest: once for each shard that comes to a node from object storage
"""

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.corpus import machine
from benchmarks.plan_clips import write_metadata
from benchmarks.process_use import ProcessUse
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.clip_index import read_clip_index
from pipelines.dataset.source import rows_of_shard
from pipelines.preparation.outcomes import FAILURES_SCHEMA, MANIFEST_SCHEMA, ShardOutcome, write_tables
from pipelines.preparation.plan import SCHEMA_VERSION, ShardPlan, plan_shards

FRAMES, MP4_BYTES, JSON_BYTES = 171, 1_540_000, 4_000
SHARDS_APART = 400
"""Every so many shards one is looked up."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    parser.add_argument("--part", choices=PARTS, help="how the script calls itself")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options.folder, options.clips)))
        return
    report: dict[str, Any] = {"benchmark": "large_manifest", "machine": machine(1), "clips": options.clips}
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            command = [sys.executable, "-m", "benchmarks.large_manifest", "--part", part, "--folder", folder]
            command += ["--clips", str(options.clips)]
            report[part] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def write(folder: Path, clips: int) -> dict[str, Any]:
    metadata = folder / "metadata.csv"
    write_metadata(metadata, clips)
    nothing = ProcessUse.peak_mb(os.getpid())
    plans = plan_shards(read_metadata(metadata, "vox", folder).clips, PrepareConfig())
    planned = ProcessUse.peak_mb(os.getpid())
    shards = [outcome(plan) for plan in plans]
    held = ProcessUse.peak_mb(os.getpid())
    began = time.process_time()
    write_tables(folder, shards)
    seconds = time.process_time() - began
    for shard in shards:
        with (folder / f"{shard.name}.tar").open("wb") as file:
            file.truncate(shard.tar_bytes)
    description = {
        "schema_version": SCHEMA_VERSION,
        "size": 256,
        "digest": "made up",
        "counts": {"written": clips},
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    manifest = (folder / "manifest.parquet").stat().st_size
    return {
        "shards": len(plans),
        "nothing_mb": nothing,
        "planned_mb": planned,
        "with_records_mb": held,
        "seconds": round(seconds, 1),
        "peak_mb": ProcessUse.peak_mb(os.getpid()),
        "manifest_mb": round(manifest / 1e6, 1),
        "manifest_bytes_a_clip": round(manifest / clips, 1),
    }


def outcome(plan: ShardPlan) -> ShardOutcome:
    """A record as `read_outcome` gives it, of a shard in which all clips were written."""
    count = len(plan.clips)
    places = np.arange(count) * (MP4_BYTES + JSON_BYTES)
    columns = {
        **{name: plan.clips.column(name) for name in plan.clips.table().column_names},
        "shard": pa.array([plan.file_name] * count),
        "index_in_shard": pa.array(np.arange(count)),
        "mp4_offset": pa.array(places),
        "mp4_size": pa.array([MP4_BYTES] * count),
        "json_offset": pa.array(places + MP4_BYTES),
        "json_size": pa.array([JSON_BYTES] * count),
        "n_frames": pa.array([FRAMES] * count),
        "sha256": pa.array([secrets.token_hex(32) for _ in range(count)]),
    }
    written = pa.table(columns).select(MANIFEST_SCHEMA.names).cast(MANIFEST_SCHEMA)
    size = count * (MP4_BYTES + JSON_BYTES)
    return ShardOutcome(plan.name, "", size, written, FAILURES_SCHEMA.empty_table())


def index(folder: Path, clips: int) -> dict[str, Any]:
    nothing = ProcessUse.peak_mb(os.getpid())
    began = time.process_time()
    found = read_clip_index(folder, "train")
    return {
        "clips": len(found.clip_id),
        "nothing_mb": nothing,
        "seconds": round(time.process_time() - began, 1),
        "held_mb": ProcessUse.resident_mb(os.getpid()),
        "peak_mb": ProcessUse.peak_mb(os.getpid()),
    }


def shard(folder: Path, clips: int) -> dict[str, Any]:
    nothing = ProcessUse.peak_mb(os.getpid())
    names = sorted(path.name for path in folder.glob("train-*.tar"))[::SHARDS_APART]
    seconds = []
    for name in names:
        began = time.process_time()
        rows_of_shard(folder / "manifest.parquet", name)
        seconds.append(time.process_time() - began)
    return {
        "shards": len(names),
        "nothing_mb": nothing,
        "first_seconds": round(seconds[0], 3),
        "median_seconds": round(statistics.median(seconds[1:] or seconds), 4),
        "peak_mb": ProcessUse.peak_mb(os.getpid()),
    }


PARTS = {"write": write, "index": index, "shard": shard}

if __name__ == "__main__":
    main()
