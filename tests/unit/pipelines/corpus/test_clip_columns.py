"""Clips in columns are the same clips."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus import clip_columns
from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import Clip, clip_id, clip_schema


def clip(number: int) -> Clip:
    return Clip(
        clip_id=clip_id(f"v{number}", 0, 9, "id1"), dataset="vox", video_id=f"v{number}",
        video_path="" if number % 3 else f"v{number}.mp4", start=0, end=9 + number, fps=25.0, left=-1, top=0,
        right=9, bottom=9, ref_width=9, ref_height=9, partition="test" if number % 4 else "train", subject_id="id1",
    )  # fmt: skip


CLIPS = [clip(number) for number in range(25)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(clip_columns, "BATCH_ROWS", 10)


def test_a_sequence_of_the_same_clips():
    columns = ClipColumns.of(iter(CLIPS))
    assert len(columns) == len(CLIPS)
    assert list(columns) == CLIPS
    assert columns[3] == CLIPS[3]
    assert columns[-1] == CLIPS[-1]
    assert list(columns[5:20:3]) == CLIPS[5:20:3]
    assert ClipColumns.of(columns) is columns
    with pytest.raises(IndexError):
        columns[len(CLIPS)]


def test_no_clips():
    assert not ClipColumns.of([])
    assert list(ClipColumns.of([])) == []


@given(st.lists(st.integers(0, 24)), st.data())
def test_selections_of_selections(numbers, data):
    chosen = ClipColumns.of(CLIPS).select(np.array(numbers, np.int64))
    assert list(chosen) == [CLIPS[number] for number in numbers]
    again = data.draw(st.lists(st.integers(0, len(numbers) - 1))) if numbers else []
    assert list(chosen.select(np.array(again, np.int64))) == [CLIPS[numbers[number]] for number in again]


def test_a_slice_does_not_count_all_clips():
    """Not even numbers of so many clips go into memory, which a plan would count once a shard."""
    many = ClipColumns.of(CLIPS).select(np.broadcast_to(np.int64(3), 1 << 45))
    assert list(many[1 << 40 : (1 << 40) + 2]) == [CLIPS[3], CLIPS[3]]


def test_columns_have_the_tables_plain_types():
    columns = ClipColumns.of(CLIPS).select(np.array([4, 2]))
    assert columns.table().schema == clip_schema()
    assert columns.column("video_id").to_pylist() == ["v4", "v2"]
    assert columns.distinct("partition") == ["test", "train"]
    assert [row["end"] for row in columns.rows(["end"])] == [13, 11]


def test_moving_clips_to_another_partition():
    moved = ClipColumns.of(CLIPS).with_partition("test", np.array([0, 1]))
    assert [c.partition for c in moved][:5] == ["test", "test", "test", "test", "train"]
    assert [c.clip_id for c in moved] == [c.clip_id for c in CLIPS]


def test_a_selection_travels_without_the_rest():
    columns = ClipColumns.of([clip(number) for number in range(2_000)])
    few = columns.select(np.array([7, 1_500]))
    assert pickle.loads(pickle.dumps(few)) == few
    assert len(pickle.dumps(few)) < 10_000
