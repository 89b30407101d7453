"""The plan: a pure function of the clip table and the configuration."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import Clip, clip_id
from pipelines.cropping.config import PrepareConfig
from pipelines.preparation.plan import estimate_bytes, plan_digest, plan_shards


def clip(number: int, frames: int = 100, partition: str = "train") -> Clip:
    return Clip(
        clip_id=clip_id(f"v{number}", 0, frames), dataset="taichi", video_id=f"v{number}", video_path="",
        start=0, end=frames, fps=25.0, left=0, top=0, right=9, bottom=9, ref_width=9, ref_height=9,
        partition=partition,
    )  # fmt: skip


CLIPS = [clip(number, partition="test" if number % 5 == 0 else "train") for number in range(60)]
CONFIG = PrepareConfig(shard_mb=10)


def test_every_clip_has_one_place_in_its_partition():
    shards = plan_shards(CLIPS, CONFIG)
    assert sorted(c.clip_id for shard in shards for c in shard.clips) == sorted(c.clip_id for c in CLIPS)
    for shard in shards:
        assert {c.partition for c in shard.clips} == {shard.name.partition("-")[0]}
    assert [shard.file_name for shard in shards if shard.name.startswith("test")] == [
        "test-000000.tar",
        "test-000001.tar",
    ]


def test_shards_are_filled_to_their_size():
    for shard in plan_shards(CLIPS, CONFIG):
        largest_clip = estimate_bytes(shard.clips, CONFIG).max()
        assert estimate_bytes(shard.clips, CONFIG).sum() <= CONFIG.shard_mb * 1e6 + largest_clip


def test_shards_are_even_as_they_are_made_side_by_side():
    clips = [clip(number, frames=100 + number % 7) for number in range(300)]
    sizes = [
        estimate_bytes(shard.clips, CONFIG).sum()
        for shard in plan_shards(clips, replace(CONFIG, shard_mb=100))
    ]
    assert len(sizes) > 3
    assert max(sizes) < 1.1 * min(sizes)


def test_a_clip_larger_than_a_shard_gets_one_to_itself():
    shards = plan_shards([clip(1, frames=100_000), clip(2)], PrepareConfig(shard_mb=1))
    assert sorted(len(shard.clips) for shard in shards) == [1, 1]


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_table_does_not_matter(rng: random.Random):
    shuffled = rng.sample(CLIPS, len(CLIPS))
    assert plan_shards(shuffled, CONFIG) == plan_shards(CLIPS, CONFIG)
    assert ClipColumns.of(shuffled).digest == ClipColumns.of(CLIPS).digest


def test_a_plan_is_its_clips_and_what_is_made_of_them():
    clips = ClipColumns.of(CLIPS).digest
    assert ClipColumns.of([replace(c, video_path="found.mp4") for c in CLIPS]).digest == clips
    assert ClipColumns.of(CLIPS[1:]).digest != clips
    assert ClipColumns.of([replace(CLIPS[0], left=1), *CLIPS[1:]]).digest != clips
    assert plan_digest(clips, replace(CONFIG, clip_seconds_limit=1.0)) == plan_digest(clips, CONFIG)
    assert plan_digest(clips, replace(CONFIG, size=128)) != plan_digest(clips, CONFIG)


def test_a_videos_clips_are_spread_over_shards():
    clips = [replace(clip(n), video_id="one", clip_id=clip_id("one", n, n + 1)) for n in range(100)]
    assert len(plan_shards(clips, CONFIG)) > 1
