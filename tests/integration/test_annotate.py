"""annotate() end to end under Ray with a detector of bright squares, and prepare() on what it gave."""

import json
import os
import shlex
import shutil
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestration.cli.main import explain, main
from orchestration.cluster import start_locally
from pipelines.annotation.annotate import AnnotateJob, annotate
from pipelines.annotation.config import AnnotateConfig
from pipelines.corpus.clip_table import read_clip_table
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError
from pipelines.preparation.prepare import prepare
from tests.bright_squares import BLUE, GREEN, RED, BrightSquareDetector, still, write_scenes
from tests.processes import descendants, wait_for
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

    start_locally(num_cpus=3, logging_level="ERROR", log_to_driver=False)
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
    assert list(metadata.clips) == list(read_clip_table(annotated[0] / "clips.parquet"))
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
    split = json.loads((annotated[0] / "annotation.json").read_text())["split"]
    assert split == {"test_fraction": 0.4, "subjects": r"(\w+)"}


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


def test_a_video_beside_one_that_kills_the_detector_is_done(tmp_path, monkeypatch):
    """Both decoders have frames with the one detector when it dies."""
    monkeypatch.setattr("pipelines.annotation.actors.MOST_ATTEMPTS", 1)
    folder = tmp_path / "videos"
    folder.mkdir()
    write_scenes(folder / "deadly.mp4", [(RED, 20, still((10, 10, 50)))], size=(100, 100))
    write_scenes(folder / "sound.mp4", [(BLUE, 800, still((100, 60, 80)))])
    job = job_for(folder, tmp_path / "out", load=DyingDetector, subjects=None)
    summary = annotate(replace(job, config=replace(CONFIG, detectors=1)), progress=False)
    assert (summary.failures, summary.clips) == ({"crashed": 1}, 1)


def test_a_decoder_that_hangs_is_ended_and_its_video_given_up(videos, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("ann-1", "bob-1"):
        shutil.copy(videos / f"{name}.mp4", folder)
        (tmp_path / "txt" / "id1" / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "txt" / "id1" / "ann-1" / "00001.txt")  # reading waits for ever for a writer
    (tmp_path / "txt" / "id1" / "bob-1" / "00001.txt").write_text("no utterance")
    job = job_for(folder, tmp_path / "out", utterances=tmp_path / "txt", subjects=None)
    summary = annotate(replace(job, config=replace(CONFIG, stall_seconds=2.0)), progress=False)
    assert summary.failures == {"timed_out": 1, "bad_utterance": 1}
    rows = pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    assert "ann-1.mp4: decoding it stood still for 2 s (annotate.stall_seconds)" in rows[0]["message"]


def test_processes_that_find_no_place_are_named(videos, tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr("pipelines.annotation.actors.START_SECONDS", 1.0)
    other = ray.remote(num_cpus=3)(Counter).remote()
    ray.get(other.total.remote())  # it has all processors by then
    try:
        with pytest.raises(InputError, match=r"2 of 2 detector processes, which need a processor and 0 GPUs"):
            annotate(job_for(videos, tmp_path / "out"), progress=False)
    finally:
        ray.kill(other)


def test_settings_that_do_not_fit_the_cluster_leave_the_results(copy, annotated, videos, tmp_path):
    more = Path(shutil.copytree(videos, tmp_path / "videos", copy_function=shutil.copy2))
    write_scenes(more / "new.mp4", [(RED, 20, still((100, 80, 60)))])
    job = job_for(more, copy)
    with pytest.raises(InputError, match=r"annotate\.detectors = 9"):
        annotate(replace(job, config=replace(CONFIG, detectors=9)), progress=False)
    with pytest.raises(Exception, match="not a model"):
        annotate(replace(job, load=BrokenDetector), progress=False)
    assert results(copy) == results(annotated[0])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_decoder_that_is_killed_is_replaced_and_its_video_done(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_scenes(folder / "long.mp4", [(BLUE, 800, still((100, 60, 80)))])

    def kill_one() -> int:
        pid = wait_for(lambda: descendants(os.getpid(), b"ray::_Decoder.run"))[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    with ThreadPoolExecutor(1) as other:
        killed = other.submit(kill_one)
        summary = annotate(job_for(folder, tmp_path / "out", subjects=None), progress=False)
        assert killed.result() > 0
    assert (summary.failures, summary.clips) == ({}, 1)


@pytest.fixture
def bright_squares(monkeypatch):
    """`lia annotate` takes the detector of bright squares for faces."""
    monkeypatch.setattr("pipelines.annotation.detectors.weights_needed", lambda kind: ())
    monkeypatch.setattr("pipelines.annotation.detectors.read_networks", lambda kind, weights: ())
    monkeypatch.setattr("pipelines.annotation.detectors.load_detector", squares_detector)


def squares_detector(kind, networks, *, min_score):
    return BrightSquareDetector()


def test_the_verb_prints_the_command_that_cuts_the_clips(bright_squares, videos, tmp_path, capsys):
    folder = tmp_path / "raw videos"
    folder.mkdir()
    shutil.copy(videos / "ann-1.mp4", folder)
    out = tmp_path / "out"
    command = ["annotate", "--videos", str(folder), "--out", str(out), "--kind", "face"]
    limits = ["--annotate.min_frames", "16", "--annotate.min_px", "40"]
    assert main([*command, *limits]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 videos = 1 annotated + 0 failed"
    _, _, prepare_command = lines[-1].partition("cut them with: lia ")
    words = shlex.split(prepare_command.replace("--out DIR", f"--out {tmp_path / 'data'}"))
    assert main([*words, "--prepare.size", "64"]) == 0
    assert len(PairDataset(tmp_path / "data", "train")) == 2


def test_the_verb_without_a_clip_ends_with_status_1(bright_squares, videos, tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(videos / "dan-1.mkv", folder)
    out = tmp_path / "out"
    assert main(["annotate", "--videos", str(folder), "--out", str(out), "--kind", "face"]) == 1
    captured = capsys.readouterr()
    assert "1 tracks = 0 clips + 1 dropped" in captured.out
    assert "cut them with" not in captured.out


class BrokenDetector:
    """Cannot be loaded."""

    def __init__(self) -> None:
        raise InputError("weights.bin: not a model. Fetch it again.")


def test_a_detector_that_cannot_be_loaded_ends_the_run_with_its_message(videos, tmp_path):
    with pytest.raises(Exception, match=r"weights\.bin: not a model") as failed:
        annotate(job_for(videos, tmp_path / "out", load=BrokenDetector), progress=False)
    assert explain(failed.value) == (2, "weights.bin: not a model. Fetch it again.")


def test_progress_counts_videos(videos, tmp_path, capsys):
    annotate(job_for(videos, tmp_path / "out"))
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("annotate 100%: 9/9 videos, 4 failed, 8 clips, ")
    assert " frames, " in line
