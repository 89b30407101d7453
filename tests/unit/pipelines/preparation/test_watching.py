"""How far a preparation is, told from what it has published."""

import os
from dataclasses import replace

import pytest

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.cropping.config import PrepareConfig
from pipelines.errors import InputError
from pipelines.preparation.dataset_folder import DatasetFolder
from pipelines.preparation.outcomes import PLANNED, REFUSED, ClipOutcome, write_outcome
from pipelines.preparation.plan import plan_shards
from pipelines.preparation.watching import read_progress
from pipelines.storage.location import parse_location
from tests.unit.pipelines.preparation.test_outcomes import CLIPS, FAILED, WRITTEN


@pytest.fixture
def folder(tmp_path) -> DatasetFolder:
    """The folder of a dataset of two clips to train on and one to test on, a shard each partition; nothing is made."""
    clips = ClipColumns.of([*CLIPS, replace(CLIPS[0], clip_id="w#0#9", partition="test")])
    made = DatasetFolder(out=tmp_path, config=PrepareConfig(size=32), clips=clips, producer="9")
    made.claim()
    made.announce(plan_shards(clips, made.config))
    return made


def publish_training_shard(folder: DatasetFolder) -> None:
    outcomes = [ClipOutcome(CLIPS[0], WRITTEN), ClipOutcome(CLIPS[1], FAILED)]
    write_outcome(folder.out, "train-000000", "digest", 10240, outcomes)
    os.utime(folder.out / ".outcomes" / "train-000000.parquet", (100, 100))


def test_a_preparation_under_way(folder):
    begun = read_progress(folder.out, seconds=1)
    assert (begun.state, begun.shards, begun.clips, begun.published_at) == ("unfinished", 0, 0, None)
    publish_training_shard(folder)
    (folder.out / ".outcomes" / ".train-000001.parquet.1.partial").touch()
    found = read_progress(folder.out, seconds=1)
    assert (found.shards, found.shards_planned, found.clips, found.clips_planned) == (1, 2, 2, 3)
    assert (found.failed, found.looked_at, found.published_at) == (1, 1, 100)


def test_a_record_that_is_torn_is_not_counted(folder):
    publish_training_shard(folder)
    (folder.out / ".outcomes" / "test-000000.parquet").write_bytes(b"PAR1")
    found = read_progress(folder.out, seconds=1)
    assert (found.shards, found.failed, found.looked_at) == (2, 1, 1)


def test_when_time_is_up_counting_failures_ends(folder):
    publish_training_shard(folder)
    found = read_progress(folder.out, seconds=-1)
    assert (found.shards, found.clips, found.failed, found.looked_at) == (1, 2, 0, 0)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_without_a_plan_only_shards_are_counted(text, folder):
    publish_training_shard(folder)
    (folder.out / PLANNED).unlink()
    if text is not None:
        (folder.out / PLANNED).write_text(text)
    found = read_progress(folder.out, seconds=1)
    assert (found.shards, found.shards_planned, found.clips, found.clips_planned) == (1, None, None, None)


def test_a_dataset_that_was_refused_says_why(folder):
    (folder.out / REFUSED).write_text("too many failed\n")
    found = read_progress(folder.out, seconds=1)
    assert (found.state, found.why) == ("refused", "too many failed")


def test_a_finished_dataset_goes_by_its_description(folder):
    (folder.out / "dataset.json").write_text(
        '{"counts": {"clips": 3, "written": 2, "failed": 1, "shards": 2}}'
    )
    found = read_progress(folder.out, seconds=1)
    assert (found.state, found.shards, found.clips, found.failed) == ("finished", 2, 3, 1)


def test_where_nothing_was_begun_there_is_nothing(tmp_path):
    assert read_progress(tmp_path, seconds=1) is None
    assert read_progress(tmp_path / "nowhere", seconds=1) is None


def test_a_web_server_is_not_prepared_to():
    with pytest.raises(InputError, match="can be read from"):
        read_progress(parse_location("http://127.0.0.1:1/data"), seconds=1)
