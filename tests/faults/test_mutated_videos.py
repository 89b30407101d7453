"""Three hundred broken videos through one shard: every clip is written and sound, or failed with a fitting reason."""

import io
import os
from collections import Counter

import av
import pytest

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import Clip, clip_id
from pipelines.cropping.config import PrepareConfig
from pipelines.preparation.outcomes import read_outcome
from pipelines.preparation.plan import ShardPlan
from pipelines.preparation.shard_task import ShardTask
from tests.coded_video import HEIGHT, WIDTH, read_number
from tests.mutated_video import CLIP, WRITTEN, mutations

COUNT = 300
CONFIG = PrepareConfig(size=40, clip_seconds_limit=30.0, probe_seconds_limit=30.0)


def clip(video: str) -> Clip:
    return Clip(
        clip_id=clip_id(video, CLIP.start, CLIP.stop), dataset="taichi", video_id=video,
        video_path=f"{video}.mp4", start=CLIP.start, end=CLIP.stop, fps=25.0, left=0, top=0, right=WIDTH,
        bottom=HEIGHT, ref_width=WIDTH, ref_height=HEIGHT, partition="train",
    )  # fmt: skip


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Each broken video's mutation with the row that records what became of its clip, and the shard's bytes."""
    folder = tmp_path_factory.mktemp("videos")
    made = {f"v{number:03d}": mutation for number, mutation in enumerate(mutations(folder, COUNT, seed=0))}
    for name, mutation in made.items():
        (folder / f"{name}.mp4").write_bytes(mutation.content)
    out = tmp_path_factory.mktemp("dataset")
    (out / ".outcomes").mkdir()
    plan = ShardPlan("train-000000", ClipColumns.of(clip(name) for name in made))
    task = ShardTask(videos=folder, out=out, config=CONFIG, plan_digest="d", producer="f")
    task.run([plan], min(4, os.cpu_count() or 1), lambda clip_id, rejected: None)
    outcome = read_outcome(out, plan, "d")
    rows = {row["video_id"]: row for row in (*outcome.written.to_pylist(), *outcome.failed.to_pylist())}
    return [(made[name], rows[name]) for name in made], (out / plan.file_name).read_bytes()


def test_every_clip_is_accounted_for_with_a_reason_that_fits(broken):
    results, _ = broken
    assert len(results) == COUNT
    wrong = [
        (number, mutation.kind, row.get("reason", WRITTEN), row.get("message"))
        for number, (mutation, row) in enumerate(results)
        if row.get("reason", WRITTEN) not in mutation.endings
    ]
    assert wrong == []


def test_what_is_written_is_sound(broken):
    results, shard = broken
    for mutation, row in results:
        if "reason" in row:
            continue
        with av.open(io.BytesIO(shard[row["mp4_offset"] :][: row["mp4_size"]])) as video:
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert {frame.shape for frame in frames} == {(CONFIG.size, CONFIG.size, 3)}
        assert len(frames) == row["n_frames"]
        if mutation.intact:
            assert [read_number(frame) for frame in frames] == list(CLIP), mutation.kind


def test_messages_are_one_line_and_name_the_video(broken):
    for mutation, row in broken[0]:
        if "reason" in row:
            assert f"{row['video_id']}.mp4: " in row["message"], mutation.kind
            assert "\n" not in row["message"]
            assert len(row["message"]) < 400


def test_the_seed_gives_a_mixture(broken):
    """So that the tests above cannot pass because nothing was broken, or all of it."""
    reasons = Counter(row.get("reason", WRITTEN) for _, row in broken[0])
    assert {"damaged", "too_short", "unreadable", "no_video_stream", "still_image", "empty_file"} <= set(
        reasons
    )
    assert reasons[WRITTEN] > COUNT // 10
