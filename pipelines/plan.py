"""Which clip goes to which shard, in which order: a pure function of the clip table and the configuration."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from pipelines.clip_table import PARTITIONS, Clip
from pipelines.config import PrepareConfig

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
    clips: tuple[Clip, ...]

    @property
    def file_name(self) -> str:
        """Name of the tar."""
        return f"{self.name}.tar"


def plan_shards(clips: Iterable[Clip], config: PrepareConfig) -> list[ShardPlan]:
    """Fill shards of about `shard_mb` with each partition's clips, in the order of a hash of their ids.

    The hash spreads a video's clips over shards, so that reading a few shards is reading a mixture.
    """
    ordered = sorted(clips, key=lambda clip: (hashlib.sha256(clip.clip_id.encode()).digest(), clip.clip_id))
    shards = []
    for partition in PARTITIONS:
        groups = _fill([clip for clip in ordered if clip.partition == partition], config)
        shards += [ShardPlan(f"{partition}-{number:06d}", group) for number, group in enumerate(groups)]
    return shards


def estimate_bytes(clip: Clip, config: PrepareConfig) -> float:
    """About how many bytes a clip will take, judged at the metadata's frame rate."""
    frame = bytes_per_pixel(config) * config.size**2 + CONTAINER_BYTES_A_FRAME
    return (clip.end - clip.start) * frame + CLIP_BYTES


def bytes_per_pixel(config: PrepareConfig) -> float:
    """Mean bytes a pixel of the JPEGs that a configuration gives."""
    subsampled: float = BYTES_PER_PIXEL_AT_Q2 * (config.jpeg_q / 2) ** QUALITY_EXPONENT
    return subsampled * (CHROMA_444_BYTES if config.chroma == "444" else 1.0)


def plan_digest(clips: Sequence[Clip], config: PrepareConfig) -> str:
    """SHA-256 that identifies a dataset: the clips (wherever their videos lie) and what is made of them."""
    parts = f"{clips_digest(clips)} {config_digest(config)} {SCHEMA_VERSION}"
    return hashlib.sha256(parts.encode()).hexdigest()


def clips_digest(clips: Iterable[Clip]) -> str:
    """SHA-256 over the clips in the order of their ids, their videos' paths left out."""
    digest = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        row = {column: value for column, value in asdict(clip).items() if column != "video_path"}
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def config_digest(config: PrepareConfig) -> str:
    """SHA-256 of the settings that decide what a dataset holds."""
    return hashlib.sha256(json.dumps(config.content(), sort_keys=True).encode()).hexdigest()


def content_digest(plan_digest: str, written: Iterable[tuple[str, str]]) -> str:
    """A dataset's digest: SHA-256 over its plan and the (clip_id, sha256) of each clip written, in their order."""
    digest = hashlib.sha256(plan_digest.encode())
    for clip_id, sha256 in written:
        digest.update(f"\n{clip_id} {sha256}".encode())
    return digest.hexdigest()


def _fill(clips: Sequence[Clip], config: PrepareConfig) -> list[tuple[Clip, ...]]:
    limit = config.shard_mb * 1e6
    groups: list[list[Clip]] = []
    room = 0.0
    for clip in clips:
        size = estimate_bytes(clip, config)
        if not groups or size > room:
            groups.append([])
            room = limit
        groups[-1].append(clip)
        room -= size
    return [tuple(group) for group in groups]
