"""One shard, made in this process."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import Clip, clip_id
from pipelines.cropping.config import PrepareConfig
from pipelines.preparation import shard_task
from pipelines.preparation.outcomes import read_outcome
from pipelines.preparation.plan import ShardPlan
from pipelines.preparation.shard_task import ShardTask
from tests.coded_video import FPS_25, coded_frame, decode, write_coded

CONFIG = PrepareConfig(size=32)


def clip(start: int, video: str = "v.mp4") -> Clip:
    return Clip(
        clip_id=clip_id("v", start, start + 10), dataset="taichi", video_id="v", video_path=video, start=start,
        end=start + 10, fps=25.0, left=0, top=0, right=90, bottom=90, ref_width=160, ref_height=96,
        partition="train",
    )  # fmt: skip


@pytest.fixture
def task(tmp_path):
    write_coded(tmp_path / "v.mp4", 60, FPS_25)
    (tmp_path / "out" / ".outcomes").mkdir(parents=True)
    return ShardTask(videos=tmp_path, out=tmp_path / "out", config=CONFIG, plan_digest="d", producer="f")


def test_clips_keep_the_plans_order_whatever_finishes_first(task):
    plan = ShardPlan("train-000000", ClipColumns.of(map(clip, (40, 0, 20, 500))))
    seen = []
    task.run([plan], 3, lambda clip_id, rejected: seen.append((clip_id, rejected and rejected.reason)))
    outcome = read_outcome(task.out, plan, "d")
    assert [row["start"] for row in outcome.written.to_pylist()] == [40, 0, 20]
    assert [row["index_in_shard"] for row in outcome.written.to_pylist()] == [0, 1, 2]
    assert [row["reason"] for row in outcome.failed.to_pylist()] == ["too_short"]
    assert sorted(seen) == sorted(
        [*((c.clip_id, None) for c in plan.clips[:3]), (clip(500).clip_id, "too_short")]
    )


def test_several_shards_are_published_one_behind_the_other(task):
    """A shard without a single sound clip among them."""
    starts = {"train-000000": (0, 10), "train-000001": (500,), "train-000002": (20, 30, 40)}
    plans = [ShardPlan(name, ClipColumns.of(map(clip, some))) for name, some in starts.items()]
    assert [task.published(plan) for plan in plans] == [None] * 3
    task.run(plans, 2, lambda clip_id, rejected: None)
    written = [[row["start"] for row in task.published(plan).written.to_pylist()] for plan in plans]
    assert written == [[0, 10], [], [20, 30, 40]]
    assert task.published(plans[1]).reasons() == {"": 0, "too_short": 1}


def test_a_folder_of_images_is_cropped_as_a_video_is(task):
    folder = task.videos / "frames"
    folder.mkdir()
    for number in range(30):
        Image.fromarray(np.ascontiguousarray(coded_frame(number))).save(folder / f"{number:04d}.png")
    clips = (clip(0, "frames"), clip(15, "frames"), clip(25, "frames"))
    plan = ShardPlan("train-000000", ClipColumns.of(clips))
    task.run([plan], 1, lambda clip_id, rejected: None)
    outcome = read_outcome(task.out, plan, "d")
    assert [row["n_frames"] for row in outcome.written.to_pylist()] == [10, 10]
    shard = (task.out / plan.file_name).read_bytes()
    for row, whole in zip(outcome.written.to_pylist(), clips, strict=False):
        mp4 = task.videos / "clip.mp4"
        mp4.write_bytes(shard[row["mp4_offset"] :][: row["mp4_size"]])
        assert len(decode(mp4)[0]) == whole.end - whole.start
    assert [(row["reason"], row["start"]) for row in outcome.failed.to_pylist()] == [("too_short", 25)]


def test_a_span_of_a_billion_frames_is_one_failed_clip(task, little_memory):
    plan = ShardPlan("train-000000", ClipColumns.of([replace(clip(0), end=999_999_999)]))
    task.run([plan], 1, lambda clip_id, rejected: None)
    assert [row["reason"] for row in read_outcome(task.out, plan, "d").failed.to_pylist()] == ["too_short"]


def test_images_that_cannot_be_read_are_one_failed_clip(task, monkeypatch):
    """Their headers are read in a process apart; here the folder is gone when that comes to it."""
    monkeypatch.setattr("os.path.isdir", lambda path: True)
    plan = ShardPlan("train-000000", ClipColumns.of([clip(0, "gone")]))
    task.run([plan], 1, lambda clip_id, rejected: None)
    (row,) = read_outcome(task.out, plan, "d").failed.to_pylist()
    assert (row["reason"], row["message"]) == (
        "unreadable",
        f"{task.videos / 'gone'}: cannot be read (No such file or directory).",
    )


def test_a_shard_without_clips_is_recorded_but_not_written(task):
    plan = ShardPlan("train-000000", ClipColumns.of([clip(0, ""), clip(10, "gone.mp4")]))
    task.run([plan], 1, lambda clip_id, rejected: None)
    assert [row["reason"] for row in read_outcome(task.out, plan, "d").failed.to_pylist()] == [
        "missing_video"
    ] * 2
    assert [path.name for path in task.out.iterdir()] == [".outcomes"]


def test_a_full_disk_is_no_clips_fault(task, monkeypatch):
    def crop(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_task, "crop", crop)
    with pytest.raises(OSError, match="No space left"):
        task.run(
            [ShardPlan("train-000000", ClipColumns.of([clip(0), clip(10)]))],
            1,
            lambda clip_id, rejected: None,
        )
    assert [path.name for path in task.out.rglob("*")] == [".outcomes"]


def test_nothing_is_left_in_the_scratch_folder(task, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    task.run([ShardPlan("train-000000", ClipColumns.of([clip(0)]))], 1, lambda clip_id, rejected: None)
    assert not list(Path(scratch).iterdir())
