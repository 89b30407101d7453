"""Which clip goes to which shard, in which order: a pure function of the clip table and the configuration."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import PARTITIONS, Clip
from pipelines.cropping.config import PrepareConfig

# Version of what prepare writes; goes up when the same plan would give other bytes.
SCHEMA_VERSION = 1

# Measured on talking heads and dancers at 256 px: 0.183 bytes a pixel at q 2, 0.078 at q 8, 0.046 at q 20.
BYTES_PER_PIXEL_AT_Q2 = 0.183
QUALITY_EXPONENT = -0.6
CHROMA_444_BYTES = 1.2
CONTAINER_BYTES_A_FRAME = 40
CLIP_BYTES = 4096


@dataclass(frozen=True)
class ShardPlan:
    """One shard: its name (`train-000000`) and the clips that it is to hold, in order."""

    name: str
    clips: ClipColumns

    @property
    def file_name(self) -> str:
        """Name of the tar."""
        return f"{self.name}.tar"

    @property
    def trains(self) -> bool:
        """Whether its clips are to train on; those of others are held out."""
        return self.name.startswith("train-")


def plan_shards(clips: Iterable[Clip], config: PrepareConfig) -> list[ShardPlan]:
    """Fill even shards of at most about `shard_mb` with each partition's clips, in the order of a hash of their ids.

    The hash spreads a video's clips over shards, so that reading a few shards is reading a mixture.
    """
    columns = ClipColumns.of(clips)
    order = _shuffled(columns)
    partitions = columns.column("partition").to_numpy(zero_copy_only=False)[order]
    sizes = estimate_bytes(columns, config)[order]
    shards = []
    for partition in PARTITIONS:
        inside = partitions == partition
        members = columns.select(order[inside])
        limits = _fill(sizes[inside], config.shard_mb * 1e6)
        shards += [
            ShardPlan(f"{partition}-{number:06d}", members[first:last])
            for number, (first, last) in enumerate(pairwise(limits))
        ]
    return shards


def estimate_bytes(clips: ClipColumns, config: PrepareConfig) -> NDArray[np.float64]:
    """About how many bytes each clip will take, judged at the metadata's frame rate."""
    frame = bytes_per_pixel(config) * config.size**2 + CONTAINER_BYTES_A_FRAME
    frames = clips.column("end").to_numpy() - clips.column("start").to_numpy()
    return np.asarray(frames * frame + CLIP_BYTES, np.float64)


def bytes_per_pixel(config: PrepareConfig) -> float:
    """Mean bytes a pixel of the JPEGs that a configuration gives."""
    subsampled: float = BYTES_PER_PIXEL_AT_Q2 * (config.jpeg_q / 2) ** QUALITY_EXPONENT
    return subsampled * (CHROMA_444_BYTES if config.chroma == "444" else 1.0)


def plan_digest(clips_digest: str, config: PrepareConfig) -> str:
    """SHA-256 that identifies a dataset: the clips (by `clips_digest`) and what is made of them."""
    parts = f"{clips_digest} {config_digest(config)} {SCHEMA_VERSION}"
    return hashlib.sha256(parts.encode()).hexdigest()


def config_digest(config: PrepareConfig) -> str:
    """SHA-256 of the settings that decide what a dataset holds."""
    return hashlib.sha256(json.dumps(config.content(), sort_keys=True).encode()).hexdigest()


def content_digest(plan_digest: str, written: Iterable[tuple[str, str]]) -> str:
    """A dataset's digest: SHA-256 over its plan and the (clip_id, sha256) of each clip written, in their order."""
    digest = hashlib.sha256(plan_digest.encode())
    for clip_id, sha256 in written:
        digest.update(f"\n{clip_id} {sha256}".encode())
    return digest.hexdigest()


def _shuffled(columns: ClipColumns) -> NDArray[np.int64]:
    """The rows in the order of the SHA-256 of their clip ids."""
    digests = (hashlib.sha256(row["clip_id"].encode()).digest() for row in columns.rows(["clip_id"]))
    # Read as four numbers each, most significant first, digests sort as their bytes do.
    words = np.fromiter(digests, "S32", len(columns)).view(">u8").reshape(-1, 4)
    return np.lexsort(words.T[::-1])


def _fill(sizes: NDArray[np.float64], limit: float) -> list[int]:
    """Where each shard begins among clips of these sizes, and the end of the last.

    As many shards as hold them all, each of about the same size: they are made side by side, and the run lasts as
    long as its largest shard. Only by its last clip may a shard exceed the limit.
    """
    if not len(sizes):
        return [0]
    ends = np.cumsum(sizes)
    count = max(1, math.ceil(ends[-1] / limit))
    shard = np.minimum((ends - sizes / 2) * count // ends[-1], count - 1)
    return [0, *(np.flatnonzero(np.diff(shard)) + 1).tolist(), len(sizes)]
