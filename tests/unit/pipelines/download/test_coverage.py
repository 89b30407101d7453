"""Counting what is there."""

from pipelines.corpus.clip_table import Clip, clip_id
from pipelines.download.coverage import coverage


def clip(video_id, start, partition):
    return Clip(
        clip_id=clip_id(video_id, start, start + 9), dataset="vox", video_id=video_id, video_path="", start=start,
        end=start + 9, fps=25.0, left=0, top=0, right=9, bottom=9, ref_width=9, ref_height=9, partition=partition,
    )  # fmt: skip


CLIPS = [
    *(clip("a", start, "train") for start in range(3)),
    clip("a", 5, "test"),
    clip("b", 0, "train"),
    *(clip("c", start, "test") for start in range(2)),
]
STATES = {"a": "there", "b": "dead", "c": "left"}


def test_a_video_counts_in_each_of_its_partitions_and_once_in_all():
    counts = coverage(CLIPS, STATES.__getitem__)
    assert counts.videos == {
        "train": {"there": 1, "dead": 1, "left": 0},
        "test": {"there": 1, "dead": 0, "left": 1},
        "all": {"there": 1, "dead": 1, "left": 1},
    }
    assert counts.clips == {
        "train": {"there": 3, "dead": 1, "left": 0},
        "test": {"there": 1, "dead": 0, "left": 2},
        "all": {"there": 4, "dead": 1, "left": 2},
    }


def test_the_state_is_asked_once_a_video():
    asked = []

    def state(video_id):
        asked.append(video_id)
        return STATES[video_id]

    coverage(CLIPS, state)
    assert asked == ["a", "b", "c"]


def test_the_table_has_a_line_a_partition():
    table = coverage(CLIPS, STATES.__getitem__).table().splitlines()
    assert table[1].split() == ["partition", *["wanted", "there", "dead", "left"] * 2]
    assert table[2].split() == ["train", "2", "1", "1", "0", "4", "3", "1", "0"]
    assert table[-1].split() == ["all", "3", "1", "1", "1", "7", "4", "1", "2"]
    assert len({len(line) for line in table}) == 1


def test_a_partition_without_clips_is_left_out():
    assert set(coverage(CLIPS[:3], STATES.__getitem__).videos) == {"train", "all"}
