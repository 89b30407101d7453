"""Columns of text that Arrow holds, and a shard's rows in a manifest of many row groups."""

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dataset import clip_index
from pipelines.dataset.clip_index import TextColumn
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.source import rows_of_shard
from pipelines.preparation import outcomes
from tests.small_corpus import CONFIG, prepare_without_ray, write_corpus

COMPARED = ("shard", "clip_id", "mp4_offset", "mp4_size", "sha256")
WORDS = ["b", "a", "", "ü", "b", "b", "a"]


@pytest.fixture
def column():
    """Of several chunks that each know some of the words only."""
    return TextColumn(pa.chunked_array([WORDS[:2], [], WORDS[2:6], WORDS[6:]]))


def test_a_column_is_read_like_a_list(column, monkeypatch):
    monkeypatch.setattr(clip_index, "_AT_ONCE", 2)
    assert len(column) == len(WORDS)
    assert list(column) == WORDS
    assert [column[number] for number in range(-7, 7)] == WORDS + WORDS
    assert column[1:4] == WORDS[1:4]
    assert column.index("ü") == 3
    with pytest.raises(IndexError):
        column[7]


def test_each_string_is_held_once(column):
    assert column.distinct.to_pylist() == ["b", "a", "", "ü"]
    assert column.codes.tolist() == [0, 1, 2, 3, 0, 0, 1]


def test_a_column_goes_to_other_processes(column):
    assert list(pickle.loads(pickle.dumps(column))) == WORDS


def test_an_empty_column():
    assert list(TextColumn(pa.chunked_array([], pa.string()))) == []


@pytest.fixture(scope="module")
def in_groups(tmp_path_factory):
    """A dataset whose manifest has row groups of three clips, where shards have two."""
    root = tmp_path_factory.mktemp("dataset")
    metadata, videos = write_corpus(root, with_failures=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "ROWS_A_GROUP", 3)
        prepare_without_ray(metadata, CONFIG, videos, root / "data")
    return root / "data"


def test_the_rows_of_a_shard_are_found_in_whichever_group(in_groups):
    manifest = in_groups / "manifest.parquet"
    assert pq.ParquetFile(manifest).num_row_groups == 4
    rows = pq.read_table(manifest).to_pylist()
    shards = sorted({row["shard"] for row in rows})
    assert len(shards) == 6
    for shard in shards:
        wanted = [row for row in rows if row["shard"] == shard]
        found = rows_of_shard(manifest, shard)
        assert found == [{name: row[name] for name in COMPARED} for row in wanted]
    assert rows_of_shard(manifest, "train-999999.tar") == []


def test_groups_without_the_shard_are_not_read(in_groups, tmp_path):
    """The content of a group in the middle is destroyed: nobody notices who wants another."""
    manifest = in_groups / "manifest.parquet"
    spoilt = bytearray(manifest.read_bytes())
    with pq.ParquetFile(manifest) as file:
        group = file.metadata.row_group(1)
        columns = [group.column(number) for number in range(group.num_columns)]
    for column in columns:
        begin = column.dictionary_page_offset or column.data_page_offset
        spoilt[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    damaged = tmp_path / "manifest.parquet"
    damaged.write_bytes(spoilt)
    last = sorted(Path(in_groups).glob("train-*.tar"))[-1].name
    assert rows_of_shard(damaged, last) == rows_of_shard(manifest, last) != []
    with pytest.raises((OSError, pa.ArrowException)):
        pq.read_table(damaged)


def test_a_dataset_of_several_groups_reads_as_one(in_groups):
    train, test = PairDataset(in_groups, "train"), PairDataset(in_groups, "test")
    rows = pq.read_table(in_groups / "manifest.parquet").to_pylist()
    for dataset in (train, test):
        wanted = [row["clip_id"] for row in rows if row["partition"] == dataset.partition]
        assert list(dataset.clip_ids) == wanted
        for clip in range(len(dataset)):
            dataset.verify(clip)
