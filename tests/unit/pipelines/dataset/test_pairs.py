"""The pair reader, on a small dataset written here byte by byte from the format's description."""

import hashlib
import io
import json
import os
import pickle
import sys
import tarfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from subprocess import run
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.dataset import pairs
from pipelines.dataset.clip_index import parse_frame_ranges
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.sampler import PairSampler
from pipelines.errors import DatasetError

SIZE = 32
FPS = Fraction(30000, 1001)
LENGTHS = {
    "anna#v1#000000#000005": 5,
    "anna#v1#000010#000013": 3,
    "bert#v2#000000#000001": 1,
    "cleo#v3#000000#000004": 4,
}
TEST_CLIP = "cleo#v3#000000#000004"


def picture(clip_id: str, number: int) -> np.ndarray:
    """A flat colour that tells clip and frame."""
    red = hashlib.sha256(clip_id.encode()).digest()[0]
    return np.full((SIZE, SIZE, 3), (red, 20 * number, 128), np.uint8)


def motion_jpeg(frames: list[np.ndarray]) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mjpeg", rate=FPS, options={"q:v": "2"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuvj420p"
        for number, frame in enumerate(frames):
            video_frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
            video_frame.pts = number
            output.mux(stream.encode(video_frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@dataclass
class SmallDataset:
    """A dataset folder whose files can be spoilt one by one."""

    root: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> "SmallDataset":
        for shard, clip_ids in self.plan().items():
            with tarfile.open(self.root / shard, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number, clip_id in enumerate(clip_ids):
                    self.add_clip(tar, shard, number, clip_id)
        self.write_manifest()
        self.write_description()
        return self

    @staticmethod
    def plan() -> dict[str, list[str]]:
        train = [clip_id for clip_id in LENGTHS if clip_id != TEST_CLIP]
        return {"train-000000.tar": train[:2], "train-000001.tar": train[2:], "test-000000.tar": [TEST_CLIP]}

    def add_clip(self, tar: tarfile.TarFile, shard: str, number: int, clip_id: str) -> None:
        mp4 = motion_jpeg([picture(clip_id, frame) for frame in range(LENGTHS[clip_id])])
        with av.open(io.BytesIO(mp4)) as container:
            ranges = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        subject, video, start, end = clip_id.split("#")
        clip = {
            "clip_id": clip_id, "dataset": "vox", "video_id": video, "video_path": f"{video}.mp4",
            "start": int(start), "end": int(end), "fps": 29.97, "left": 0, "top": 0, "right": 9, "bottom": 9,
            "ref_width": 9, "ref_height": 9, "partition": shard.split("-")[0], "subject_id": subject,
        }  # fmt: skip
        record = clip | {
            "n_frames": len(ranges), "size": SIZE, "video_fps": "30000/1001",
            "frame_offsets": [offset for offset, _ in ranges], "frame_sizes": [size for _, size in ranges],
        }  # fmt: skip
        mp4_offset, mp4_size = append(tar, f"{clip_id}.mp4", mp4)
        json_offset, json_size = append(tar, f"{clip_id}.json", json.dumps(record).encode())
        self.rows.append(
            clip
            | {
                "shard": shard, "index_in_shard": number, "mp4_offset": mp4_offset, "mp4_size": mp4_size,
                "json_offset": json_offset, "json_size": json_size, "n_frames": len(ranges),
                "sha256": hashlib.sha256(mp4).hexdigest(),
            }
        )  # fmt: skip

    def write_manifest(self) -> None:
        pq.write_table(pa.Table.from_pylist(self.rows), self.root / "manifest.parquet")

    def write_description(self, **changes: Any) -> None:
        description = {
            "schema_version": 1,
            "size": SIZE,
            "digest": "0" * 64,
            "counts": {"written": len(self.rows)},
        } | changes
        (self.root / "dataset.json").write_text(json.dumps(description))

    def alter_row(self, number: int, **changes: Any) -> None:
        self.rows[number] |= changes
        self.write_manifest()

    def alter_column(self, **changes: Any) -> None:
        self.rows = [row | changes for row in self.rows]
        self.write_manifest()

    def alter_json(self, number: int, **changes: Any) -> None:
        """Rewrite a clip's json member in place, as long as it was."""
        row = self.rows[number]
        path = self.root / row["shard"]
        data = bytearray(path.read_bytes())
        begin, end = row["json_offset"], row["json_offset"] + row["json_size"]
        text = json.dumps(json.loads(data[begin:end]) | changes, separators=(",", ":")).encode()
        data[begin:end] = text.ljust(row["json_size"])
        path.write_bytes(data)


def append(tar: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int]:
    """Add a member; where its data begins, and how long it is."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    offset = tar.offset + 512
    tar.addfile(member, io.BytesIO(data))
    return offset, len(data)


@pytest.fixture
def dataset(tmp_path: Path) -> SmallDataset:
    return SmallDataset(tmp_path).write()


def colour_error(frame: np.ndarray, clip_id: str, number: int) -> int:
    return int(np.abs(frame.astype(int) - picture(clip_id, number)).max())


def test_the_fixture_is_an_ordinary_tar(dataset):
    row = dataset.rows[1]
    with tarfile.open(dataset.root / row["shard"]) as tar:
        member = tar.getmember(f"{row['clip_id']}.mp4")
        assert (member.offset_data, member.size) == (row["mp4_offset"], row["mp4_size"])


def test_every_frame_of_every_clip(dataset):
    train = PairDataset(dataset.root, "train")
    assert (len(train), train.size, train.n_frames.tolist()) == (3, SIZE, [5, 3, 1])
    for clip in range(len(train)):
        clip_id = train.info(clip).clip_id
        frames = list(train.clip(clip))
        assert len(frames) == LENGTHS[clip_id]
        for number, frame in enumerate(frames):
            assert frame.shape == (SIZE, SIZE, 3)
            assert frame.dtype == np.uint8
            assert colour_error(frame, clip_id, number) <= 3


def test_pairs_follow_their_keys(dataset):
    train = PairDataset(dataset.root, "train")
    sampler = PairSampler(train.n_frames, seed=0)
    for key in map(sampler.key, range(12)):
        clip_id = train.info(key.clip).clip_id
        source, driving = train.frames(key.clip, (key.source_frame, key.driving_frame))
        assert colour_error(source, clip_id, key.source_frame) <= 3
        assert colour_error(driving, clip_id, key.driving_frame) <= 3


def test_frames_in_any_order(dataset):
    train = PairDataset(dataset.root, "train")
    frames = train.frames(0, [4, 0, 4])
    assert [
        colour_error(frame, train.info(0).clip_id, n) <= 3 for frame, n in zip(frames, (4, 0, 4), strict=True)
    ]
    assert train.frames(0, []).shape == (0, SIZE, SIZE, 3)
    for number in (5, -1):
        with pytest.raises(IndexError, match=f"has 5 frames, asked for frame {number}"):
            train.frames(0, [number])


def test_what_is_known_of_a_clip(dataset):
    info = PairDataset(dataset.root, "test").info(0)
    assert (info.clip_id, info.video_id, info.subject_id) == (TEST_CLIP, "v3", "cleo")
    assert (info.fps, info.n_frames) == (FPS, 4)


def test_the_dataset_is_known_by_its_digest(dataset):
    assert PairDataset(dataset.root, "test").digest == PairDataset(dataset.root, "train").digest == "0" * 64


def test_clips_that_failed_are_counted_by_partition(dataset):
    failures = [{"clip_id": str(n), "partition": p} for n, p in enumerate(["train", "test", "train"])]
    pq.write_table(pa.Table.from_pylist(failures), dataset.root / "failures.parquet")
    assert [PairDataset(dataset.root, partition).failed for partition in ("train", "test")] == [2, 1]
    (dataset.root / "failures.parquet").unlink()
    with pytest.raises(DatasetError, match=r"failures\.parquet: missing or damaged"):
        _ = PairDataset(dataset.root, "train").failed


def first_pair(dataset: PairDataset) -> bytes:
    return dataset.frames(0, (1,)).tobytes()


def test_it_travels_to_other_processes(dataset):
    train = PairDataset(dataset.root, "train")
    expected = first_pair(train)  # maps a shard, which cannot be pickled
    assert len(pickle.dumps(train)) < 5000
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(first_pair, train).result() == expected


def test_few_shards_stay_open_and_few_clips_indexed(dataset, monkeypatch):
    monkeypatch.setattr(pairs, "MAX_OPEN_SHARDS", 1)
    monkeypatch.setattr(pairs, "MAX_INDEXED_CLIPS", 2)
    train = PairDataset(dataset.root, "train")
    for clip in (0, 1, 2, 0, 2, 1):
        assert colour_error(train.frames(clip, [0])[0], train.info(clip).clip_id, 0) <= 3
        assert len(train._maps) == 1
        assert len(train._ranges) <= 2


def test_reading_imports_no_torch():
    code = (
        "import sys, pipelines.dataset.pairs, pipelines.dataset.sampler\n"
        "sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    )
    assert run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[4]).returncode == 0


def spoil_size(dataset: SmallDataset, shard: str, size: int) -> None:
    os.truncate(dataset.root / shard, size)


def spoil_columns(dataset: SmallDataset) -> None:
    for row in dataset.rows:
        del row["json_size"]
    dataset.write_manifest()


def spoil_text(dataset: SmallDataset, column: str) -> None:
    """Bytes that are no UTF-8, where the file's schema says text."""
    path = dataset.root / "manifest.parquet"
    table = pq.read_table(path)
    text = pa.array([b"\xff\xfe"] * table.num_rows, pa.binary()).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index(column), column, text), path)


def unfinish(dataset):
    (dataset.root / "dataset.json").unlink()
    (dataset.root / ".outcomes").mkdir()


HUGE = 2**62
UNUSABLE = {
    "other-folder": (lambda d: (d.root / "dataset.json").unlink(), r"is no dataset.*lia prepare --out"),
    "unfinished": (lambda d: unfinish(d), r"its preparation is unfinished.*resumes"),
    "bad-dataset-json": (lambda d: (d.root / "dataset.json").write_text("{"), r"dataset\.json: damaged"),
    "list-as-dataset": (lambda d: (d.root / "dataset.json").write_text("[]"), r"dataset\.json: damaged"),
    "newer-schema": (lambda d: d.write_description(schema_version=2), "schema_version is 2"),
    "huge-frames": (lambda d: d.write_description(size=10**6), "size = 1000000"),
    "text-as-size": (lambda d: d.write_description(size="32"), "size = '32'"),
    "number-as-digest": (lambda d: d.write_description(digest=7), "digest = 7"),
    "other-count": (lambda d: d.write_description(counts={"written": 9}), "4 clips where .* counts 9"),
    "no-manifest": (lambda d: (d.root / "manifest.parquet").unlink(), r"manifest\.parquet: missing"),
    "bad-manifest": (lambda d: spoil_size(d, "manifest.parquet", 99), r"manifest\.parquet: damaged"),
    "no-shard": (lambda d: (d.root / "train-000001.tar").unlink(), r"train-000001\.tar: missing"),
    "cut-shard": (lambda d: spoil_size(d, "train-000000.tar", 2000), r"train-000000\.tar: clip anna#v1"),
    "empty-shard": (lambda d: spoil_size(d, "train-000001.tar", 0), r"train-000001\.tar: clip bert#v2"),
    "shard-elsewhere": (lambda d: d.alter_row(0, shard="../train-000000.tar"), "is no name of a shard"),
    "negative-offset": (lambda d: d.alter_row(1, mp4_offset=-1), "anna#v1#000010#000013: its mp4 at byte -1"),
    "far-offset": (lambda d: d.alter_row(1, mp4_offset=HUGE), "anna#v1#000010#000013: its mp4 at byte 46"),
    "negative-size": (lambda d: d.alter_row(1, json_size=-5), "its json at byte .*, -5 long"),
    "overflowing-size": (lambda d: d.alter_row(1, json_size=2**63 - 1), "its json at byte"),
    "no-frames": (lambda d: d.alter_row(1, n_frames=0), "anna#v1#000010#000013: 0 frames"),
    "text-as-offset": (lambda d: d.alter_column(mp4_offset="x"), r"manifest\.parquet: damaged"),
    "column-missing": (spoil_columns, r"manifest\.parquet: damaged"),
    "no-text-as-name": (lambda d: spoil_text(d, "clip_id"), r"manifest\.parquet: damaged .*UTF8"),
    "no-text-as-shard": (lambda d: spoil_text(d, "shard"), r"manifest\.parquet: damaged .*UTF8"),
    "no-text-as-partition": (lambda d: spoil_text(d, "partition"), r"manifest\.parquet: damaged .*UTF8"),
    "endless-shard-name": (lambda d: d.alter_row(0, shard="x" * 5000 + ".tar"), "is no name of a shard"),
    "long-shard-name": (lambda d: d.alter_row(0, shard="ü" * 150 + ".tar"), "is no name of a shard"),
    "empty-cell": (lambda d: d.alter_row(1, mp4_offset=None), "empty cells in column mp4_offset"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_dataset_is_refused_on_opening(dataset, kind):
    spoil, message = UNUSABLE[kind]
    spoil(dataset)
    with pytest.raises(DatasetError, match=message):
        PairDataset(dataset.root, "train")


def test_an_absent_folder_names_the_verb(tmp_path):
    with pytest.raises(DatasetError, match=r"absent: no such folder.*lia prepare"):
        PairDataset(tmp_path / "absent", "train")


def test_no_test_clips(tmp_path):
    dataset = SmallDataset(tmp_path).write()
    dataset.rows.pop()
    dataset.write_manifest()
    dataset.write_description()
    with pytest.raises(DatasetError, match=r"no test clips.*partition = test"):
        PairDataset(dataset.root, "test")


CONTRADICTIONS = {
    "other-clip": ({"clip_id": "x"}, "belongs to clip 'x'"),
    "fewer-frames": ({"frame_offsets": [1, 2]}, "2 offsets and 5 sizes for 5 frames"),
    "negative-offset": ({"frame_offsets": [0, -1, 2, 3, 4]}, "frame 1 at byte -1"),
    "far-offset": ({"frame_offsets": [0, 0, 0, 10**9, 0]}, "frame 3 at byte 1000000000"),
    "negative-size": ({"frame_sizes": [1, 1, 1, 1, -1]}, "frame 4 at byte"),
    "huge-size": ({"frame_sizes": [1, 1, HUGE, 1, 1]}, "frame 2 at byte"),
    "number-beyond-64-bit": ({"frame_sizes": [10**30, 1, 1, 1, 1]}, "json member is damaged"),
    "text": ({"frame_sizes": "abcde"}, "json member is damaged"),
    "number-for-list": ({"frame_sizes": 5}, "json member is damaged"),
    "no-rate": ({"video_fps": "1/0"}, "json member is damaged"),
    "negative-rate": ({"video_fps": -3}, "no frame rate"),
    "not-a-jpeg": ({"frame_offsets": [1, 1, 1, 1, 1]}, "frame 0 is no 32x32 JPEG"),
    "half-a-jpeg": ({"frame_sizes": [400, 1, 1, 1, 1]}, "frame 0 is no 32x32 JPEG"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_shards_that_contradict_the_manifest_name_clip_and_shard(dataset, kind):
    changes, message = CONTRADICTIONS[kind]
    dataset.alter_json(0, **changes)
    train = PairDataset(dataset.root, "train")
    with pytest.raises(DatasetError, match=rf"train-000000\.tar: clip anna#v1#000000#000005: .*{message}"):
        train.frames(0, [0])
    assert colour_error(train.frames(1, [0])[0], train.info(1).clip_id, 0) <= 3


def test_frames_of_another_size_are_refused(dataset):
    dataset.write_description(size=16)
    with pytest.raises(DatasetError, match=r"frame 0 is no 16x16 JPEG \(32x32 pixels\)"):
        PairDataset(dataset.root, "train").frames(0, [0])


def test_a_shard_lost_after_opening(dataset):
    train = PairDataset(dataset.root, "train")
    (dataset.root / "train-000000.tar").unlink()
    with pytest.raises(DatasetError, match=r"train-000000\.tar: cannot be read"):
        train.frames(0, [0])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
records = st.fixed_dictionaries(
    {},
    optional={
        "clip_id": st.just("c") | json_values,
        "video_fps": st.sampled_from(["25", "1/0", "nan"]) | json_values,
        "frame_offsets": st.lists(st.integers(-5, 200), min_size=2, max_size=2) | json_values,
        "frame_sizes": st.lists(st.integers(-5, 200), min_size=2, max_size=2) | json_values,
    },
)


@settings(max_examples=150)
@given(
    data=records.map(json.dumps).map(str.encode) | json_values.map(json.dumps).map(str.encode) | st.binary()
)
@example(data=b"[" * 100_000)
@example(data=b'{"frame_sizes":' + b"9" * 5000 + b"}")
def test_any_json_is_read_in_bounds_or_refused(data):
    try:
        ranges = parse_frame_ranges(data, clip_id="c", n_frames=2, mp4_size=100)
    except ValueError:
        return
    for offset, size in zip(ranges.offsets.tolist(), ranges.sizes.tolist(), strict=True):
        assert 0 <= offset < offset + size <= 100
