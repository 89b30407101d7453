"""prepare() end to end under Ray: what it publishes, and that nothing depends on luck."""

import fcntl
import io
import json
import os
import shutil
from collections import Counter
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest

from orchestration.cluster import start_locally
from pipelines.corpus.clip_table import COLUMNS
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError, TooManyFailuresError
from pipelines.preparation import distribute
from pipelines.preparation.prepare import prepare
from tests.coded_video import read_number
from tests.small_corpus import CONFIG, FAILURES, SOUND_CLIPS, folder_bytes, prepare_without_ray, write_corpus

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def dataset(corpus, tmp_path_factory):
    metadata, videos = corpus
    out = tmp_path_factory.mktemp("dataset") / "out"
    summary = prepare(metadata, CONFIG, videos, out, progress=False)
    return out, summary


@pytest.fixture
def copy(dataset, tmp_path):
    return Path(shutil.copytree(dataset[0], tmp_path / "out"))


def test_clips_in_are_clips_written_and_clips_failed(dataset, corpus):
    _, summary = dataset
    assert summary.clips == len(corpus[0].clips) == SOUND_CLIPS + FAILURES.total()
    assert (summary.written, summary.failures) == (SOUND_CLIPS, dict(FAILURES))
    assert summary.report().startswith(
        f"{summary.clips} clips = {SOUND_CLIPS} written + {FAILURES.total()} failed"
    )


def test_every_failure_says_which_file_and_why(dataset):
    rows = pq.read_table(dataset[0] / "failures.parquet").to_pylist()
    assert Counter(row["reason"] for row in rows) == FAILURES
    for row in rows:
        assert row["video_id"] in row["message"]
        assert row["stage"] in ("probe", "crop", "decode", "encode")


def test_manifest_says_where_every_clip_lies(dataset):
    out, _ = dataset
    rows = pq.read_table(out / "manifest.parquet").to_pylist()
    assert len({row["shard"] for row in rows}) > 2
    for row in rows:
        shard = (out / row["shard"]).read_bytes()
        with av.open(io.BytesIO(shard[row["mp4_offset"] :][: row["mp4_size"]])) as video:
            frames = [read_number(frame.to_ndarray(format="rgb24")) for frame in video.decode(video=0)]
            rate = video.streams.video[0].average_rate
        assert frames == list(range(row["start"], row["end"]))
        member = json.loads(shard[row["json_offset"] :][: row["json_size"]])
        assert {name: member[name] for name in COLUMNS} == {name: row[name] for name in COLUMNS}
        assert member["n_frames"] == row["n_frames"] == len(frames)
        assert Fraction(member["video_fps"]) == rate
        for offset, size in zip(member["frame_offsets"], member["frame_sizes"], strict=True):
            jpeg = shard[row["mp4_offset"] + offset :][:size]
            assert (jpeg[:2], jpeg[-2:]) == (b"\xff\xd8", b"\xff\xd9")


def test_our_reader_reads_the_dataset(dataset):
    clips = PairDataset(dataset[0], "train")
    for number, row in enumerate(
        row
        for row in pq.read_table(dataset[0] / "manifest.parquet").to_pylist()
        if row["partition"] == "train"
    ):
        frames = clips.frames(number, [0, row["n_frames"] - 1])
        assert [read_number(frame) for frame in frames] == [row["start"], row["end"] - 1]


def test_dataset_json_counts_what_is_there(dataset, corpus):
    out, summary = dataset
    description = json.loads((out / "dataset.json").read_text())
    counts = description["counts"]
    assert (description["schema_version"], description["size"]) == (1, CONFIG.size)
    assert description["config"] == asdict(CONFIG)
    assert counts["clips"] == counts["written"] + counts["failed"] == summary.clips
    assert counts["by_partition"] == {"train": 10, "test": 2}
    assert counts["bytes"] == sum(path.stat().st_size for path in out.glob("*.tar"))
    assert description["source"]["metadata_sha256"] == corpus[0].sha256
    assert description["digest"] == summary.digest


def test_one_thread_without_ray_gives_the_same_folder(dataset, corpus, tmp_path):
    metadata, videos = corpus
    prepare_without_ray(metadata, CONFIG, videos, tmp_path / "out", threads=1)
    assert folder_bytes(tmp_path / "out") == folder_bytes(dataset[0])


def test_a_finished_dataset_is_left_alone(copy, corpus):
    metadata, videos = corpus
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    summary = prepare(
        metadata, CONFIG, videos, copy, progress=False, cluster=lambda: pytest.fail("Ray is not needed")
    )
    assert summary.shards_kept == summary.shards
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["manifest.parquet", "failures.parquet", "shardindex.json", "dataset.json"])
def test_a_damaged_description_is_put_right_without_making_shards(copy, corpus, dataset, name):
    metadata, videos = corpus
    (copy / name).write_bytes(b"torn")
    prepare(metadata, CONFIG, videos, copy, progress=False, cluster=lambda: pytest.fail("Ray is not needed"))
    assert folder_bytes(copy) == folder_bytes(dataset[0])


def test_what_is_missing_or_torn_is_made_again_one_lot_after_another(copy, corpus, dataset, monkeypatch):
    monkeypatch.setattr(distribute, "SHARDS_A_WAVE", 1)
    monkeypatch.setattr(distribute, "SHARDS_A_CORE", 0)
    metadata, videos = corpus
    shards = sorted(copy.glob("train-*.tar"))
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-1024])
    (copy / ".outcomes" / "test-000000.parquet").write_bytes(b"torn")
    (copy / "dataset.json").unlink()
    (copy / ".train-000000.tar.abcd.partial").touch()
    kept = {path: path.stat().st_mtime_ns for path in shards[2:]}
    prepare(metadata, CONFIG, videos, copy, progress=False)
    assert folder_bytes(copy) == folder_bytes(dataset[0])
    assert {path: path.stat().st_mtime_ns for path in shards[2:]} == kept


def test_a_flipped_bit_is_found_and_mended_on_request(copy, corpus, dataset):
    metadata, videos = corpus
    row = pq.read_table(copy / "manifest.parquet").to_pylist()[-1]
    damaged = bytearray((copy / row["shard"]).read_bytes())
    damaged[row["mp4_offset"] + row["mp4_size"] // 2] ^= 1
    (copy / row["shard"]).write_bytes(damaged)
    summary = prepare(metadata, CONFIG, videos, copy, progress=False)
    assert summary.shards_kept == summary.shards
    summary = prepare(metadata, CONFIG, videos, copy, progress=False, verify=True)
    assert summary.shards_kept == summary.shards - 1
    assert f"{row['shard']} was damaged (clip {row['clip_id']}) and made again" in summary.report()
    assert folder_bytes(copy) == folder_bytes(dataset[0])
    summary = prepare(metadata, CONFIG, videos, copy, progress=False, verify=True)
    assert (summary.shards_kept, summary.mended) == (summary.shards, {})


def test_a_video_that_arrives_later_is_taken_in(copy, corpus, tmp_path):
    metadata, videos = corpus
    arrived = tmp_path / "videos"
    shutil.copytree(videos, arrived)
    shutil.copy(videos / "a.mp4", arrived / "absent.mp4")
    clips = [replace(c, video_path="absent.mp4") if c.video_id == "absent" else c for c in metadata.clips]
    summary = prepare(replace(metadata, clips=clips), CONFIG, arrived, copy, progress=False)
    assert summary.written == SOUND_CLIPS + 2
    assert "missing_video" not in summary.failures
    assert summary.shards_kept > 0


def test_failures_are_tried_again_on_request(copy, corpus, dataset):
    metadata, videos = corpus
    (copy / "train-000000.tar").touch()
    summary = prepare(metadata, CONFIG, videos, copy, progress=False, retry_failed=True)
    assert summary.shards_kept < summary.shards
    assert folder_bytes(copy) == folder_bytes(dataset[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: (m, replace(CONFIG, jpeg_q=5)), r"other settings \(jpeg_q 2, now 5\)"),
        (lambda m: (replace(m, clips=m.clips[1:]), CONFIG), "of other clips"),
    ],
)
def test_a_folder_of_another_dataset_is_refused(copy, corpus, change, message):
    before = folder_bytes(copy)
    metadata, config = change(corpus[0])
    with pytest.raises(DatasetError, match=message):
        prepare(metadata, config, corpus[1], copy, progress=False)
    assert folder_bytes(copy) == before


def test_a_folder_of_other_things_is_refused(corpus, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DatasetError, match="holds other files"):
        prepare(corpus[0], CONFIG, corpus[1], tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_shards_of_another_ffmpeg_are_not_mixed_with_ours(copy, corpus):
    mark = copy / ".outcomes" / "plan.json"
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"ffmpeg": "n1.0"}))
    assert prepare(corpus[0], CONFIG, corpus[1], copy, progress=False).written == SOUND_CLIPS
    next(copy.glob("*.tar")).unlink()
    with pytest.raises(DatasetError, match=r"begun with ffmpeg n1\.0"):
        prepare(corpus[0], CONFIG, corpus[1], copy, progress=False)


def test_a_run_in_which_all_fails_ends_with_its_sum(corpus, tmp_path):
    metadata, _ = corpus
    (tmp_path / "none").mkdir()
    clips = [replace(clip, video_path="") for clip in metadata.clips]
    summary = prepare(
        replace(metadata, clips=clips), CONFIG, tmp_path / "none", tmp_path / "out", progress=False
    )
    assert (summary.written, summary.failures) == (0, {"missing_video": len(clips)})
    assert not list((tmp_path / "out").glob("*.tar"))


def test_what_cannot_be_prepared_at_all(corpus, tmp_path):
    with pytest.raises(InputError, match="no such folder of videos"):
        prepare(corpus[0], CONFIG, tmp_path / "none", tmp_path / "out")
    with pytest.raises(InputError, match="no clips"):
        prepare(replace(corpus[0], clips=[]), CONFIG, tmp_path, tmp_path / "out")


def test_progress_counts_clips(corpus, tmp_path, capsys):
    prepare(corpus[0], CONFIG, corpus[1], tmp_path / "out")
    assert f"{len(corpus[0].clips)}/{len(corpus[0].clips)}" in capsys.readouterr().err


def test_too_many_failures_leave_a_dataset_that_nobody_takes_by_accident(copy, corpus, dataset):
    metadata, videos = corpus
    rate = FAILURES.total() / len(metadata.clips)
    with pytest.raises(TooManyFailuresError, match=r"7 of 19 clips failed \(36\.8%\).*2 missing_video"):
        prepare(metadata, CONFIG, videos, copy, progress=False, max_failure_rate=rate - 0.01)
    assert not (copy / "dataset.json").exists()
    assert len(list(copy.glob("*.tar"))) == len(list(dataset[0].glob("*.tar")))
    assert pq.read_table(copy / "failures.parquet").num_rows == FAILURES.total()
    with pytest.raises(DatasetError, match=r"refused by the last `lia prepare`: 7 of 19 clips failed"):
        PairDataset(copy, "train")
    no_ray = {"progress": False, "cluster": lambda: pytest.fail("Ray is not needed")}
    prepare(metadata, CONFIG, videos, copy, max_failure_rate=rate, **no_ray)
    assert folder_bytes(copy) == folder_bytes(dataset[0])


def test_a_run_stops_once_its_limit_cannot_be_kept(corpus, tmp_path):
    metadata, videos = corpus
    out = tmp_path / "out"
    clips = [replace(clip, video_path="") if clip.partition == "train" else clip for clip in metadata.clips]
    doomed = replace(metadata, clips=clips)
    with pytest.raises(TooManyFailuresError, match=r"not tried\), more than max-failure-rate 0\.05 allows"):
        prepare(doomed, CONFIG, videos, out, progress=False, max_failure_rate=0.05)
    assert not (out / "dataset.json").exists()
    assert prepare(metadata, CONFIG, videos, out, progress=False, max_failure_rate=0.5).written == SOUND_CLIPS


def test_a_limit_holds_for_mended_videos(corpus, tmp_path):
    metadata, videos = corpus
    broken, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(videos, broken)
    (broken / "c.webm").write_bytes(b"")
    clips = [clip for clip in metadata.clips if clip.partition == "test" and clip.video_id == "c"]
    few = replace(metadata, clips=clips)
    with pytest.raises(TooManyFailuresError, match=r"2 of 2 clips failed .*2 empty_file"):
        prepare(few, CONFIG, broken, out, progress=False, max_failure_rate=0.0)
    shutil.copy(videos / "c.webm", broken)
    summary = prepare(few, CONFIG, broken, out, progress=False, max_failure_rate=0.0, retry_failed=True)
    assert (summary.written, summary.failed) == (2, 0)
    assert PairDataset(out, "test").digest == summary.digest


def test_two_preparations_do_not_share_a_folder(copy, corpus):
    metadata, videos = corpus
    with (copy / ".outcomes" / "plan.json").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DatasetError, match="another `lia prepare` is at work there"):
            prepare(metadata, CONFIG, videos, copy, progress=False)
