"""annotate() end to end under Ray with a detector of bright squares, and prepare() on what it gave."""

import json
import os
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.annotation.annotate import AnnotateJob, annotate
from pipelines.annotation.config import AnnotateConfig
from pipelines.corpus.clip_table import read_clip_table
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError
from pipelines.preparation.prepare import prepare
from tests.bright_squares import BLUE, GREEN, RED, BrightSquareDetector, still, write_scenes
from tests.small_corpus import folder_bytes

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

CONFIG = AnnotateConfig(min_frames=16, min_px=40, batch=8, test_fraction=0.4)
RESULTS = {"clips.csv", "clips.parquet", "videos.parquet", "failures.parquet", "annotation.json"}
FAILURES = Counter(empty_file=1, unreadable=2, unusable_name=1)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Five sound videos with two tracks each but for the last, whose person is too small; four unusable ones."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("ann-1", "ann-2", "bob-1", "cas-1")):
        moving = (BLUE, 30, lambda frame: [(60 + frame, 60, 80)])
        write_scenes(folder / f"{name}.mp4", [moving, (GREEN, 20 + number, still((150, 80, 60)))])
    write_scenes(folder / "dan-1.mkv", [(RED, 30, still((100, 100, 20)))])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video\n" * 50)
    (folder / "torn.mp4").write_bytes((folder / "ann-1.mp4").read_bytes()[:2000])
    shutil.copy(folder / "bob-1.mp4", folder / "a.dot.mp4")
    (folder / "ann-1.json").write_text("{}")
    return folder


def job_for(videos: Path, out: Path, **changes) -> AnnotateJob:
    job = AnnotateJob(
        videos=videos,
        out=out,
        config=CONFIG,
        load=BrightSquareDetector,
        detector="squares",
        subjects=r"(\w+)",
    )
    return replace(job, **changes)


@pytest.fixture(scope="module")
def annotated(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("annotated") / "out"
    summary = annotate(job_for(videos, out), progress=False)
    return out, summary


@pytest.fixture
def copy(annotated, tmp_path):
    return Path(shutil.copytree(annotated[0], tmp_path / "out"))


def results(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in folder_bytes(out).items() if name in RESULTS}


def no_ray():
    pytest.fail("Ray is not needed")


def test_sums_and_report(annotated):
    out, summary = annotated
    assert (summary.videos, summary.failures) == (9, dict(FAILURES))
    assert (summary.tracks, summary.clips, summary.dropped) == (9, 8, {"too_small": 1})
    lines = summary.report().splitlines()
    assert lines[0] == "9 videos = 5 annotated + 4 failed"
    assert f"9 tracks = 8 clips + 1 dropped, in {out}" in lines


def test_clips_are_those_of_the_scenes(annotated):
    clips = list(read_clip_table(annotated[0] / "clips.parquet"))
    expected = [
        (name, *span)
        for number, name in enumerate(("ann-1", "ann-2", "bob-1", "cas-1"))
        for span in ((0, 30), (30, 50 + number))
    ]
    assert [(clip.video_id, clip.start, clip.end) for clip in clips] == expected
    for clip in clips:
        assert clip.right - clip.left == clip.bottom - clip.top
        assert clip.subject_id == clip.video_id[:3]
    # The square moved from 60 to 89 with a side of 80: its union is 109 wide, times 1.2.
    assert abs((clips[0].right - clips[0].left) - 1.2 * 109) <= 4


def test_nobody_is_in_both_partitions(annotated):
    clips = list(read_clip_table(annotated[0] / "clips.parquet"))
    places = {
        clip.subject_id: {c.partition for c in clips if c.subject_id == clip.subject_id} for clip in clips
    }
    assert all(len(partitions) == 1 for partitions in places.values())
    assert {clip.partition for clip in clips} == {"train", "test"}


def test_the_csv_reads_back_as_the_clip_table(annotated, videos):
    metadata = read_metadata(annotated[0] / "clips.csv", "own", videos)
    assert metadata.clips == list(read_clip_table(annotated[0] / "clips.parquet"))
    assert (metadata.duplicates, metadata.missing_videos) == (0, 0)


def test_every_failure_names_its_file(annotated):
    rows = pq.read_table(annotated[0] / "failures.parquet").to_pylist()
    assert Counter(row["reason"] for row in rows) == FAILURES
    for row in rows:
        assert row["video_path"] in row["message"]


def test_videos_and_counts(annotated):
    rows = {row["video_id"]: row for row in pq.read_table(annotated[0] / "videos.parquet").to_pylist()}
    assert (rows["ann-1"]["frames"], rows["ann-1"]["shots"], rows["ann-1"]["clips"]) == (50, 2, 2)
    assert (rows["dan-1"]["tracks"], rows["dan-1"]["too_small"]) == (1, 1)
    counts = json.loads((annotated[0] / "annotation.json").read_text())["counts"]
    assert counts["videos"] == len(rows) + counts["videos_failed"] == 9
    assert counts["clips"] == sum(counts["clips_by_partition"].values()) == 8


def test_prepare_cuts_what_was_annotated(annotated, videos, tmp_path):
    metadata = read_metadata(annotated[0] / "clips.csv", "own", videos)
    summary = prepare(metadata, PrepareConfig(size=64), videos, tmp_path / "data", progress=False)
    assert (summary.written, summary.failed) == (8, 0)
    dataset = PairDataset(tmp_path / "data", "train")
    bright = [np.mean(dataset.frames(clip, [0])[0].min(axis=-1) > 200) for clip in range(len(dataset))]
    assert all(share > 0.25 for share in bright), "each clip shows its square, large"


def test_a_finished_annotation_needs_no_ray_and_gives_the_same_bytes(copy, annotated, videos):
    summary = annotate(job_for(videos, copy), progress=False, cluster=no_ray)
    assert summary.videos_kept == 9
    assert results(copy) == results(annotated[0])


def test_another_partition_needs_no_ray_either(copy, videos):
    summary = annotate(
        job_for(videos, copy, config=replace(CONFIG, test_fraction=0.0), subjects=None), progress=False,
        cluster=no_ray,
    )  # fmt: skip
    assert summary.partitions == {"train": 8, "test": 0}
    assert "person_id" not in (copy / "clips.csv").read_text()
    clips = read_metadata(copy / "clips.csv", "own", videos).clips
    assert list(clips) == list(read_clip_table(copy / "clips.parquet"))


def test_what_is_missing_is_looked_through_again(copy, annotated, videos):
    records = sorted((copy / ".records").glob("*[0-9a-f].json"))
    records[0].unlink()
    records[1].write_bytes(b"torn")
    (copy / "annotation.json").unlink()
    summary = annotate(job_for(videos, copy), progress=False)
    assert summary.videos_kept == 7
    assert results(copy) == results(annotated[0])


def test_a_replaced_video_and_failures_on_request_are_looked_through_again(copy, videos, tmp_path):
    mended = Path(shutil.copytree(videos, tmp_path / "videos", copy_function=shutil.copy2))
    write_scenes(mended / "torn.mp4", [(RED, 20, still((100, 80, 60)))])
    summary = annotate(job_for(mended, copy), progress=False)
    assert (summary.videos_kept, summary.clips) == (8, 9)
    again = annotate(job_for(mended, copy), progress=False, retry_failed=True)
    assert again.videos_kept == 6
    assert again.failures == {"empty_file": 1, "unreadable": 1, "unusable_name": 1}


def test_a_folder_of_other_settings_is_refused(copy, videos, tmp_path):
    with pytest.raises(DatasetError, match=r"with other settings \(min_px 40, now 41\)"):
        annotate(job_for(videos, copy, config=replace(CONFIG, min_px=41)), progress=False)
    with pytest.raises(DatasetError, match="detector squares, now circles"):
        annotate(job_for(videos, copy, detector="circles"), progress=False)
    with pytest.raises(DatasetError, match="holds other files"):
        annotate(job_for(videos, videos), progress=False)


def test_what_cannot_be_annotated_at_all(videos, tmp_path):
    with pytest.raises(InputError, match="no such folder of videos"):
        annotate(job_for(tmp_path / "none", tmp_path / "out"), progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no videos"):
        annotate(job_for(tmp_path / "empty", tmp_path / "out"), progress=False)
    (tmp_path / "txt" / "p" / "v").mkdir(parents=True)
    (tmp_path / "txt" / "p" / "v" / "1.txt").touch()
    with pytest.raises(InputError, match="give one of them"):
        annotate(job_for(videos, tmp_path / "out", utterances=tmp_path / "txt"), progress=False)
    assert not (tmp_path / "out").exists()


def test_utterances_name_the_people(videos, tmp_path):
    for person, box in (("id1", "0.100 \t0.200 \t0.500 \t0.500"), ("id2", "0.700 \t0.000 \t0.200 \t0.200")):
        path = tmp_path / "txt" / person / "ann-1" / "00001.txt"
        path.parent.mkdir(parents=True)
        rows = "\n".join(f"{frame:06d} \t{box}" for frame in range(5, 28))
        path.write_text(f"Identity  : \t{person}\nReference : \tann-1\n\nFRAME \tX \tY \tW \tH \n{rows}\n")
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(videos / "ann-1.mp4", folder)
    shutil.copy(videos / "bob-1.mp4", folder)
    summary = annotate(
        job_for(folder, tmp_path / "out", utterances=tmp_path / "txt", subjects=None), progress=False
    )
    assert (summary.dataset, summary.failures) == ("vox", {"no_utterances": 1})
    (clip,) = read_metadata(tmp_path / "out" / "clips.csv", "vox", folder).clips
    assert clip.clip_id == "id1#ann-1#000005#000028"
    assert [clip] == list(read_clip_table(tmp_path / "out" / "clips.parquet"))


class DyingDetector(BrightSquareDetector):
    """Kills its process over frames of 100 by 100 pixels."""

    def __call__(self, frames_NHW3):
        if frames_NHW3.shape[1:3] == (100, 100):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(frames_NHW3)


def test_a_video_that_kills_processes_is_given_up_and_the_others_are_done(videos, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_scenes(folder / "deadly.mp4", [(RED, 20, still((10, 10, 50)))], size=(100, 100))
    shutil.copy(videos / "ann-1.mp4", folder)
    summary = annotate(job_for(folder, tmp_path / "out", load=DyingDetector, subjects=None), progress=False)
    assert (summary.failures, summary.clips) == ({"crashed": 1}, 2)


class BrokenDetector:
    """Cannot be loaded."""

    def __init__(self) -> None:
        raise InputError("weights.bin: not a model. Fetch it again.")


def test_a_detector_that_cannot_be_loaded_ends_the_run_with_its_message(videos, tmp_path):
    from orchestration.cli.main import explain

    with pytest.raises(Exception, match=r"weights\.bin: not a model") as failed:
        annotate(job_for(videos, tmp_path / "out", load=BrokenDetector), progress=False)
    assert explain(failed.value) == (2, "weights.bin: not a model. Fetch it again.")


def test_progress_counts_videos(videos, tmp_path, capsys):
    annotate(job_for(videos, tmp_path / "out"))
    line = capsys.readouterr().err.splitlines()[-1]
    assert "9/9" in line
    assert "clips=8, failed=4, frames=" in line
