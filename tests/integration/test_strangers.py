"""Our shards in the hands of others: every common reader finds the same clips, whole, without a line of our code."""

import gc
import io
import json
import os
import tarfile
from fractions import Fraction
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
import webdataset

from orchestration.cluster import start_locally
from tests.coded_video import read_number
from tests.small_corpus import CONFIG, SOUND_CLIPS, prepare_without_ray, write_corpus

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of several shards, clips of two frame rates and sources of three kinds among them."""
    metadata, videos = write_corpus(tmp_path_factory.mktemp("corpus"), with_failures=False)
    out = tmp_path_factory.mktemp("dataset") / "out"
    prepare_without_ray(metadata, CONFIG, videos, out)
    return out


@pytest.fixture(scope="module")
def rows(dataset):
    """What the manifest says of each clip, in the order of the shards."""
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    assert len(rows) == SOUND_CLIPS
    assert len({row["shard"] for row in rows}) > 2
    return rows


@pytest.fixture(scope="module")
def shards(dataset, rows):
    """The tars, in the manifest's order."""
    return [str(dataset / name) for name in dict.fromkeys(row["shard"] for row in rows)]


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    """Hugging Face's loader, off the network, with its caches in the test's folder."""
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    assert datasets.config.HF_HUB_OFFLINE
    return datasets


@pytest.fixture(scope="module")
def cluster():
    import ray

    start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def agree(samples: list[tuple[str, bytes, dict]], rows: list[dict]) -> None:
    """Key, video and description of every sample against the manifest's rows."""
    assert [key for key, _, _ in samples] == [row["clip_id"] for row in rows]
    for (key, video, described), row in zip(samples, rows, strict=True):
        assert len(video) == row["mp4_size"]
        assert (described["clip_id"], described["n_frames"]) == (key, row["n_frames"])
        assert video[described["frame_offsets"][-1] :][: described["frame_sizes"][-1]].startswith(b"\xff\xd8")


def test_tarfile_finds_two_members_a_clip(shards, rows):
    samples = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            members = tar.getmembers()
            for mp4, described in zip(members[::2], members[1::2], strict=True):
                key = mp4.name.removesuffix(".mp4")
                assert described.name == f"{key}.json"
                content = [tar.extractfile(member).read() for member in (mp4, described)]
                samples.append((key, content[0], json.loads(content[1])))
    agree(samples, rows)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_webdataset_streams_the_shards(shards, rows):
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    agree([(sample["__key__"], sample["mp4"], json.loads(sample["json"])) for sample in samples], rows)
    gc.collect()


def test_the_wids_index_describes_the_shards(dataset, shards, rows):
    index = json.loads((dataset / "shardindex.json").read_text())
    assert index["wids_version"] == 1
    assert [str(dataset / shard["url"]) for shard in index["shardlist"]] == shards
    for shard in index["shardlist"]:
        assert shard["nsamples"] == sum(row["shard"] == shard["url"] for row in rows)
        assert shard["filesize"] == (dataset / shard["url"]).stat().st_size


def test_wids_opens_the_index(dataset, rows, tmp_path):
    wids = pytest.importorskip("wids", reason="webdataset 1.0 no longer brings wids: pip install wids")
    clips = wids.ShardListDataset(
        str(dataset / "shardindex.json"), cache_dir=str(tmp_path), transformations=[]
    )
    samples = [clips[number] for number in range(len(clips))]
    agree([(s["__key__"], s[".mp4"].read(), json.loads(s[".json"].read())) for s in samples], rows)


def test_hugging_face_streams_the_shards(hugging_face, shards, rows):
    clips = hugging_face.load_dataset(
        "webdataset", data_files={"all": shards}, split="all", streaming=True
    ).cast_column("mp4", hugging_face.Video(decode=False))
    agree([(clip["__key__"], clip["mp4"]["bytes"], clip["json"]) for clip in clips], rows)


def test_hugging_face_types_every_shards_first_rows_alike(hugging_face, shards):
    features = [
        hugging_face.load_dataset("webdataset", data_files={"one": [s]}, split="one", streaming=True).features
        for s in shards
    ]
    assert isinstance(features[0]["mp4"], hugging_face.Video)
    assert features[0]["json"]["fps"] == hugging_face.Value("float64")
    assert features[0]["json"]["frame_offsets"] == hugging_face.List(hugging_face.Value("int64"))
    assert all(other == features[0] for other in features[1:])


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_ray_data_reads_the_shards(cluster, shards, rows):
    import ray

    clips = ray.data.read_webdataset(shards).take_all()
    samples = sorted((clip["__key__"], clip["mp4"], clip["json"]) for clip in clips)
    agree(samples, sorted(rows, key=lambda row: row["clip_id"]))


def test_pyav_plays_a_member_and_seeks_in_it(dataset, rows):
    assert len({row["fps"] for row in rows}) == 2
    for row in {row["fps"]: row for row in rows}.values():
        described, video = _members(dataset / row["shard"], row["clip_id"])
        with av.open(io.BytesIO(video)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.frames) == (CONFIG.size, CONFIG.size, row["n_frames"])
            assert stream.average_rate == Fraction(described["video_fps"])
            shown = [(frame.pts, _number(frame)) for frame in container.decode(stream)]
            assert [number for _, number in shown] == list(range(row["start"], row["end"]))
            for pts, number in (shown[23], shown[1], shown[-1]):
                container.seek(pts, stream=stream)
                assert _number(next(container.decode(stream))) == number


def _members(shard: Path, key: str) -> tuple[dict, bytes]:
    with tarfile.open(shard) as tar:
        return json.load(tar.extractfile(f"{key}.json")), tar.extractfile(f"{key}.mp4").read()


def _number(frame: av.VideoFrame) -> int:
    return read_number(frame.to_ndarray(format="rgb24"))
