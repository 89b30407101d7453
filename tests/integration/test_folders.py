"""Folders of cropped clips and of frames through prepare(), export and back: the same frames, every failure counted."""

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestration.cluster import start_locally
from orchestration.export import export
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError
from pipelines.preparation.clip_folders import read_clip_folder, read_frame_folders
from pipelines.preparation.prepare import prepare
from tests.coded_video import FPS_25, FPS_2997, VP9, coded_frame, read_number, write_coded
from tests.small_corpus import folder_bytes, prepare_without_ray

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

CONFIG = PrepareConfig(size=96, shard_mb=1)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Cropped clips of four subjects, two files that are none, and one that breaks off."""
    folder = tmp_path_factory.mktemp("clips")
    write_coded(folder / "id1#v#000000#000040.mp4", 40, FPS_25, sound="aac")
    write_coded(folder / "id1#w#000000#000030.mkv", 30, FPS_2997)
    write_coded(folder / "id2#v#000000#000020.webm", 20, FPS_25, VP9)
    (folder / "id3").mkdir()
    write_coded(folder / "id3" / "talk.ts", 25, FPS_25)
    (folder / "id4#text.mp4").write_text("no video\n" * 99)
    (folder / "id4#empty.mp4").touch()
    torn = write_coded(folder / "id4#torn.avi", 60, FPS_25, ("-c:v", "mjpeg"))
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    return folder


@pytest.fixture(scope="module")
def dataset(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("dataset") / "out"
    return out, prepare(read_clip_folder(clips, 0.3), CONFIG, clips, out, progress=False)


@pytest.fixture(scope="module")
def exported(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    return out, [export(dataset[0], out, partition, "frames") for partition in ("train", "test")]


def write_frames(folder: Path, count: int, suffix: str = "png") -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.ascontiguousarray(coded_frame(number))).save(folder / f"{number:07d}.{suffix}")
    return folder


def opened(root: Path) -> dict[str, tuple[PairDataset, int]]:
    """Every clip of a dataset, by its id."""
    parts = [PairDataset(root, partition) for partition in ("train", "test")]
    return {clip_id: (part, number) for part in parts for number, clip_id in enumerate(part.clip_ids)}


def test_clips_go_in_whole_and_failures_are_counted(dataset, clips):
    root, summary = dataset
    assert (summary.written, summary.failures) == (4, {"empty_file": 1, "unreadable": 1, "too_short": 1})
    lengths = {
        "id1#v#000000#000040": 40,
        "id1#w#000000#000030": 30,
        "id2#v#000000#000020": 20,
        "id3#talk": 25,
    }
    found = opened(root)
    assert found.keys() == lengths.keys()
    for clip_id, length in lengths.items():
        part, number = found[clip_id]
        assert [read_number(frame) for frame in part.clip(number)] == list(range(length))
    for row in pq.read_table(root / "failures.parquet").to_pylist():
        assert str(clips / row["video_path"]) in row["message"]


def test_export_is_what_the_published_code_reads(dataset, exported):
    out, summaries = exported
    assert sum(summary.clips for summary in summaries) == dataset[1].written
    for clip_id, (part, number) in opened(dataset[0]).items():
        names = sorted(path.name for path in (out / part.partition / clip_id).iterdir())
        assert names == [f"{frame:07d}.png" for frame in range(part.n_frames[number])]


def test_a_second_export_writes_nothing(dataset, exported):
    before = {path: path.stat().st_mtime_ns for path in exported[0].rglob("*")}
    summary = export(dataset[0], exported[0], "train", "frames")
    assert summary.kept == summary.clips > 0
    assert {path: path.stat().st_mtime_ns for path in exported[0].rglob("*")} == before


def test_an_export_counts_its_clips(dataset, tmp_path, capsys):
    summary = export(dataset[0], tmp_path / "out", "train", "clips")
    progress = capsys.readouterr().err
    assert f"{summary.clips}/{summary.clips}" in progress
    assert "\r" not in progress
    assert len(list((tmp_path / "out" / "train").glob("*.mp4"))) == summary.clips


def test_a_damaged_shard_stops_an_export_with_its_name(dataset, tmp_path):
    import shutil

    from orchestration.errors import root_cause

    root = Path(shutil.copytree(dataset[0], tmp_path / "data"))
    shard = next(root.glob("train-*.tar"))
    content = bytearray(shard.read_bytes())
    content[512:-1024] = bytes(len(content) - 1536)
    shard.write_bytes(content)
    with pytest.raises(Exception, match="train-000000") as stopped:
        export(root, tmp_path / "out", "train", "frames")
    assert isinstance(root_cause(stopped.value), DatasetError)


def test_there_and_back_keeps_frames_partitions_and_subjects(dataset, exported, tmp_path):
    metadata = read_frame_folders(exported[0])
    prepare_without_ray(metadata, CONFIG, exported[0], tmp_path / "again")
    before, after = opened(dataset[0]), opened(tmp_path / "again")
    assert before.keys() == after.keys()
    for clip_id, (part, number) in before.items():
        again, place = after[clip_id]
        assert again.partition == part.partition
        assert again.info(place).subject_id == part.info(number).subject_id
        assert again.n_frames[place] == part.n_frames[number]
        for one, other in zip(part.clip(number), again.clip(place), strict=True):
            assert read_number(one) == read_number(other)
            difference = np.abs(one.astype(int) - other.astype(int))
            # A second JPEG of the best quality: a level on the whole, a few at sharp edges.
            assert difference.mean() < 1
            assert difference.max() <= 16


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_frames_are_shown_at_the_rate_given(tmp_path, suffix):
    videos = tmp_path / "100% frames"
    write_frames(videos / "train" / "a", 12, suffix)
    prepare_without_ray(read_frame_folders(videos, 29.97), CONFIG, videos, tmp_path / "out")
    part = PairDataset(tmp_path / "out", "train")
    assert part.info(0).fps == FPS_2997
    assert [read_number(frame) for frame in part.clip(0)] == list(range(12))
    assert (part.size, part.info(0).n_frames) == (96, 12)


def _spoil(folder: Path) -> Counter[str]:
    """Frame folders of every kind of fault; returns the reasons to expect."""

    def frame(name: str, number: int = 3, suffix: str = "png") -> Path:
        return write_frames(folder / name, 6, suffix) / f"{number:07d}.{suffix}"

    frame("sound")
    frame("gap").unlink()
    frame("text").write_text("no image")
    frame("no-bytes").write_bytes(b"")
    Image.new("RGB", (40, 40)).save(frame("size"))
    (folder / "empty").mkdir()
    frame("number").rename(folder / "number" / "last.png")
    for name, suffix in (("cut-png", "png"), ("cut-jpg", "jpg")):
        path = frame(name, 3, suffix)
        path.write_bytes(path.read_bytes()[:-60])
    return Counter(missing_frames=1, unreadable=2, empty_file=1, mixed_sizes=1, empty_folder=1, damaged=2)


def test_every_unsound_folder_is_a_counted_failure_that_names_it(tmp_path):
    videos = tmp_path / "frames"
    expected = _spoil(videos)
    metadata = read_frame_folders(videos, test_fraction=0.0)
    summary = prepare(metadata, CONFIG, videos, tmp_path / "out", progress=False)
    assert (summary.written, Counter(summary.failures)) == (1, expected)
    rows = {row["clip_id"]: row for row in pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()}
    for name, row in rows.items():
        assert str(videos / name) in row["message"]
    for name, image in (("cut-png", "0000003.png"), ("cut-jpg", "0000003.jpg"), ("size", "0000003.png")):
        assert image in rows[name]["message"]


def test_resuming_and_workers_do_not_matter(exported, tmp_path):
    metadata = read_frame_folders(exported[0])
    prepare_without_ray(metadata, CONFIG, exported[0], tmp_path / "one", threads=1)
    prepare(metadata, CONFIG, exported[0], tmp_path / "two", progress=False)
    next((tmp_path / "two").glob("train-*.tar")).unlink()
    prepare(read_frame_folders(exported[0]), CONFIG, exported[0], tmp_path / "two", progress=False)
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")


def test_a_folder_that_changed_is_another_dataset(tmp_path):
    videos = tmp_path / "frames"
    write_frames(videos / "a", 4)
    prepare_without_ray(read_frame_folders(videos), CONFIG, videos, tmp_path / "out")
    write_frames(videos / "b", 4)
    metadata = read_frame_folders(videos)
    assert len({clip.clip_id for clip in metadata.clips}) == len(metadata.clips) == 2
    assert asdict(metadata.clips[0])["video_path"] == "a"
    with pytest.raises(DatasetError, match="of other clips"):
        prepare(metadata, CONFIG, videos, tmp_path / "out", progress=False)
