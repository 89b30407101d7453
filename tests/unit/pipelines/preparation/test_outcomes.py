"""Records of published shards."""

from dataclasses import asdict

import pytest

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import Clip, clip_id
from pipelines.corpus.failures import REASONS, STAGE_OF, Rejected
from pipelines.preparation.outcomes import ClipOutcome, Written, read_outcome, remove_outcome, write_outcome
from pipelines.preparation.plan import ShardPlan

CLIPS = tuple(
    Clip(
        clip_id=clip_id("v", start, start + 9), dataset="taichi", video_id="v", video_path="v.mp4", start=start,
        end=start + 9, fps=25.0, left=0, top=0, right=9, bottom=9, ref_width=9, ref_height=9, partition="train",
    )
    for start in (0, 10)
)  # fmt: skip
PLAN = ShardPlan("train-000000", ClipColumns.of(CLIPS))
WRITTEN = Written(
    shard="train-000000.tar", index_in_shard=0, mp4_offset=512, mp4_size=9, json_offset=1536, json_size=2,
    n_frames=9, sha256="00",
)  # fmt: skip
FAILED = Rejected("too_short", "v.mp4: ends early")


@pytest.fixture
def out(tmp_path):
    (tmp_path / ".outcomes").mkdir()
    (tmp_path / "train-000000.tar").write_bytes(bytes(10240))
    outcomes = [ClipOutcome(CLIPS[0], WRITTEN), ClipOutcome(CLIPS[1], FAILED)]
    write_outcome(tmp_path, PLAN.name, "digest", 10240, outcomes)
    return tmp_path


def test_records_come_back(out):
    outcome = read_outcome(out, PLAN, "digest")
    assert outcome.tar_bytes == 10240
    assert outcome.written.to_pylist() == [asdict(CLIPS[0]) | asdict(WRITTEN)]
    assert outcome.failed.to_pylist() == [
        asdict(CLIPS[1]) | {"stage": "decode", "reason": "too_short", "message": "v.mp4: ends early"}
    ]


def test_a_shard_that_is_not_as_recorded_does_not_count(out):
    assert read_outcome(out, PLAN, "another") is None
    assert read_outcome(out, ShardPlan(PLAN.name, PLAN.clips[:1]), "digest") is None
    (out / PLAN.file_name).write_bytes(bytes(512))
    assert read_outcome(out, PLAN, "digest") is None
    (out / PLAN.file_name).unlink()
    assert read_outcome(out, PLAN, "digest") is None


def test_a_record_that_is_gone_or_torn_does_not_count(out):
    (out / ".outcomes" / "train-000000.parquet").write_bytes(b"PAR1")
    assert read_outcome(out, PLAN, "digest") is None
    remove_outcome(out, PLAN.name)
    assert read_outcome(out, PLAN, "digest") is None


def test_every_reason_belongs_to_a_stage():
    assert set(STAGE_OF) == set(REASONS)
