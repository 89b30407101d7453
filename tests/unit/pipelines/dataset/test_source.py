"""Datasets read from a web server through the cache, with the server failing in all ways."""

import io
import json
import shutil
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.source import RemoteDataset, rows_of_shard
from pipelines.dataset.tables import read_tables
from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.preparation.outcomes import FAILURES_SCHEMA
from pipelines.storage import transfer
from pipelines.storage.location import parse_location
from tests.faulty_http import first, folder, serving
from tests.small_corpus import CONFIG, prepare_without_ray, write_corpus


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    metadata, videos = write_corpus(root / "corpus", with_failures=False)
    prepare_without_ray(metadata, CONFIG, videos, root / "data set")
    return root


@pytest.fixture
def server(published, tmp_path, monkeypatch):
    monkeypatch.setenv("LIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "WAITS_S", (0.0, 0.0))
    with serving(folder(published)) as server:
        server.url += "/data%20set"
        yield server


@pytest.fixture
def local(published):
    return PairDataset(published / "data set", "train")


def frames(dataset: PairDataset) -> list[bytes]:
    return [dataset.jpeg(clip, 7) for clip in range(len(dataset))]


def cached(tmp_path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*.tar"))


def test_shards_come_whole_once_and_when_first_used(server, local, tmp_path):
    remote = PairDataset(server.url, "train")
    assert (len(remote), remote.digest, remote.failed) == (len(local), local.digest, 0)
    assert cached(tmp_path) == []
    assert remote.jpeg(0, 7) == local.jpeg(0, 7)
    assert cached(tmp_path) == ["train-000000.tar"]
    assert frames(remote) == frames(local)
    assert frames(PairDataset(server.url + "/", "train")) == frames(local)
    assert {name for _, name in server.requests if server.asked(name) > 1} == {
        urlsplit(server.url).path + "/dataset.json"
    }


@pytest.mark.parametrize("opened", [read_tables, lambda url: PairDataset(url, "train")])
def test_a_bad_size_of_the_cache_is_no_damage(server, monkeypatch, opened):
    monkeypatch.setenv("LIA_CACHE_GB", "abc")
    with pytest.raises(InputError, match=r"^LIA_CACHE_GB=abc: give the size") as refused:
        opened(server.url)
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize("fault", [500, 503, 429, "cut"])
def test_requests_that_fail_are_made_again(server, local, fault):
    server.fault = first(1, fault, method="GET", part="")
    assert frames(PairDataset(server.url, "train")) == frames(local)


def test_a_cut_transfer_goes_on_where_it_was_cut(server, published, local):
    server.fault = first(1, "cut", method="GET", part="train-000000.tar")
    assert PairDataset(server.url, "train").jpeg(0, 7) == local.jpeg(0, 7)
    asked = [
        range_
        for (_, path), range_ in zip(server.requests, server.ranges, strict=True)
        if path.endswith("train-000000.tar")
    ]
    half = (published / "data set" / "train-000000.tar").stat().st_size // 2
    assert asked == [None, f"bytes={half}-"]


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (500, StorageError, r"train-000000\.tar: the server answers 500 .* Given up after 3 attempts"),
        ("cut", StorageError, r"the server cut the connection, \d+ bytes short"),
        (403, StorageError, r"the server answers 403 .*your rights"),
        (404, DatasetError, r"train-000000\.tar: missing, though the manifest names it"),
        ("short", DatasetError, r"train-000000\.tar: \d+ bytes or more arrived, shardindex\.json says \d+"),
        ("garbled", DatasetError, r"clip \S+ arrived with other bytes than the manifest's sha256"),
    ],
)
def test_a_shard_that_does_not_come_whole_is_refused(server, local, tmp_path, fault, error, message):
    remote = PairDataset(server.url, "train")
    server.fault = lambda method, path: fault if path.endswith("train-000000.tar") else None
    with pytest.raises(error, match=message) as refused:
        frames(remote)
    assert "\n" not in str(refused.value)
    assert "train-000000.tar" not in cached(tmp_path)
    server.fault = lambda method, path: None
    assert frames(remote) == frames(local)


def test_a_dataset_that_is_replaced_is_not_mixed_with_the_old_one(server, published, local, monkeypatch):
    old = PairDataset(server.url, "train")
    old.jpeg(0, 7)
    other = json.loads((published / "data set" / "dataset.json").read_bytes()) | {"digest": "1" * 64}
    serve = folder(published)
    changed = json.dumps(other).encode()
    server.serve = lambda request: (
        (200, [], changed) if request.path.endswith("dataset.json") else serve(request)
    )
    with pytest.raises(DatasetError, match=r"manifest\.parquet: is not the one that dataset\.json describes"):
        PairDataset(server.url, "train")
    assert frames(old) == frames(local)


def test_what_is_no_dataset(server, published):
    with pytest.raises(DatasetError, match=r"is no dataset.*lia prepare --out"):
        PairDataset(server.url + "/nothing", "train")
    server.fault = lambda method, path: 404 if path.endswith("dataset.json") else None
    with pytest.raises(DatasetError, match="its preparation is unfinished"):
        PairDataset(server.url, "train")


def test_a_server_that_is_gone(server):
    with pytest.raises(
        StorageError, match=r"http://127\.0\.0\.1:9/x/dataset\.json: no whole answer.*refused"
    ):
        PairDataset("http://127.0.0.1:9/x", "train")


def read_all(url: str) -> list[bytes]:
    return frames(PairDataset(url, "train"))


def test_processes_of_a_machine_fetch_each_shard_once(server, local):
    with get_context("spawn").Pool(2) as pool:
        assert pool.map(read_all, [server.url] * 2, chunksize=1) == [frames(local)] * 2
    assert {server.asked(name) for name in set(local._index.shard)} == {1}


def test_a_small_cache_still_serves_a_large_dataset(server, local, tmp_path, monkeypatch, caplog):
    largest = max(path.stat().st_size for path in local.root.glob("*.tar"))
    monkeypatch.setenv("LIA_CACHE_GB", str(1.1 * largest / 1e9))
    remote = PairDataset(server.url, "train")
    assert frames(remote) == frames(local)
    assert len(cached(tmp_path)) < len(set(local._index.shard))
    assert "LIA_CACHE_GB" in caplog.text


def lie(manifest: Path) -> None:
    """Let the footer's statistics leave out a shard that is there, with a name of the same length."""
    data = bytearray(manifest.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert b"train-000001.tar" in data[footer:]
    data[footer:] = bytes(data[footer:]).replace(b"train-000001.tar", b"train-000009.tar")
    manifest.write_bytes(data)


@pytest.fixture
def in_groups(published, tmp_path):
    """A copy whose manifest has a row group for each shard."""
    copy = tmp_path / "root" / "data set"
    shutil.copytree(published / "data set", copy)
    table = pq.read_table(copy / "manifest.parquet")
    pq.write_table(table, copy / "manifest.parquet", row_group_size=2)
    return copy


def test_statistics_that_deny_a_shard_do_not_keep_it_from_being_checked(in_groups, server):
    """It would be compared with nothing, and anybody's bytes be taken for it."""
    folder_server = folder(in_groups.parent)
    lie(in_groups / "manifest.parquet")
    with (
        serving(folder_server) as lying,
        pytest.raises(
            DatasetError, match=r"damaged \(the statistics of row group . leave out train-000001\.tar"
        ),
    ):
        PairDataset(f"{lying.url}/data%20set", "train")


def test_a_manifest_in_row_groups_is_read_and_compared(in_groups, server, local):
    with serving(folder(in_groups.parent)) as other:
        assert frames(PairDataset(f"{other.url}/data%20set", "train")) == frames(local)


def test_every_clip_of_a_shard_is_compared(in_groups, server):
    """Where its rows lie in several groups, too."""
    table = pq.read_table(in_groups / "manifest.parquet")
    pq.write_table(table, in_groups / "manifest.parquet", row_group_size=1)
    shard = "train-000000.tar"
    *others, last = [row for row in table.to_pylist() if row["shard"] == shard]
    assert others
    data = bytearray((in_groups / shard).read_bytes())
    data[last["mp4_offset"] + last["mp4_size"] // 2] ^= 1
    (in_groups / shard).write_bytes(data)
    with serving(folder(in_groups.parent)) as other:
        remote = RemoteDataset.open(parse_location(f"{other.url}/data%20set"))
        with pytest.raises(DatasetError, match=rf"{shard}: clip {last['clip_id']} arrived with other bytes"):
            remote.open_shard(shard)


@pytest.mark.parametrize("name", ["clip_id", "shard", "sha256"])
def test_a_manifest_with_an_empty_cell_is_refused_when_it_comes(name, in_groups, server):
    path = in_groups / "manifest.parquet"
    table = pq.read_table(path)
    at = table.column_names.index(name)
    pq.write_table(table.set_column(at, name, pa.array([None, *table[name].to_pylist()[1:]])), path)
    with (
        serving(folder(in_groups.parent)) as other,
        pytest.raises(DatasetError, match=rf"manifest\.parquet: damaged \(empty cells in column {name}\)"),
    ):
        PairDataset(f"{other.url}/data%20set", "train")


@pytest.mark.parametrize(
    ("name", "message"),
    [("clip_id", r"is not the one that dataset\.json describes"), ("shard", r"damaged \(days=2147483647")],
)
def test_dates_that_python_does_not_have_are_refused_when_they_come(name, message, in_groups, server):
    path = in_groups / "manifest.parquet"
    table = pq.read_table(path)
    dates = pa.array([2**31 - 1] * len(table), pa.date32())
    pq.write_table(table.set_column(table.column_names.index(name), name, dates), path)
    with (
        serving(folder(in_groups.parent)) as other,
        pytest.raises(DatasetError, match=rf"manifest\.parquet: {message}"),
    ):
        PairDataset(f"{other.url}/data%20set", "train")


def test_a_copy_that_was_damaged_later_is_to_be_deleted(server):
    remote = RemoteDataset.open(parse_location(server.url))
    remote.file("manifest.parquet").write_bytes(b"PAR1, no more")
    with pytest.raises(
        StorageError, match=r"manifest\.parquet: this machine's copy of http.* cannot be read .*Delete it"
    ):
        remote.open_shard("train-000000.tar")


def test_a_shard_of_which_the_manifest_knows_nothing_is_refused(server):
    remote = RemoteDataset.open(parse_location(server.url))
    remote._sizes["train-000077.tar"] = 5
    with pytest.raises(DatasetError, match=r"manifest\.parquet: knows no clip of shard train-000077\.tar"):
        remote._check_shard("train-000077.tar", io.BytesIO(b"evil!"))


@pytest.mark.parametrize("name", ["reason", "clip_id", "partition"])
def test_text_that_is_none_in_a_table_is_damage(name, published, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(published / "data set", copy)
    row = {"clip_id": "x", "partition": "train", "reason": "y"}
    columns = {
        field.name: pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
        if field.name == name
        else pa.array([row.get(field.name, "" if pa.types.is_string(field.type) else 1)], field.type)
        for field in FAILURES_SCHEMA
    }
    pq.write_table(pa.table(columns), copy / "failures.parquet")
    with pytest.raises(DatasetError, match=r"failures\.parquet: damaged"):
        read_tables(copy)


@pytest.mark.parametrize(
    "column",
    [
        pytest.param({"mp4_offset": pa.array(["a", "b"])}, id="text-as-offset"),
        pytest.param({"sha256": pa.array([b"\xff", b"\xfe"], pa.binary()).view(pa.string())}, id="no-text"),
        pytest.param({"clip_id": pa.array([[1], [2]])}, id="nested"),
        pytest.param({"sha256": None}, id="missing"),
    ],
)
def test_a_manifest_with_other_columns_is_damaged(column, tmp_path):
    columns = {
        "shard": pa.array(["a.tar", "a.tar"]), "clip_id": pa.array(["x", "y"]), "mp4_offset": pa.array([0, 1]),
        "mp4_size": pa.array([1, 1]), "sha256": pa.array(["0", "1"]),
    }  # fmt: skip
    manifest = tmp_path / "manifest.parquet"
    pq.write_table(pa.table(columns), manifest)
    assert [row["clip_id"] for row in rows_of_shard(manifest, "a.tar")] == ["x", "y"]
    changed = {name: values for name, values in {**columns, **column}.items() if values is not None}
    pq.write_table(pa.table(changed), manifest)
    with pytest.raises((pa.ArrowException, ValueError, KeyError)):
        rows_of_shard(manifest, "a.tar")
