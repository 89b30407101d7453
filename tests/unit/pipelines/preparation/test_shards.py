"""Tars that others read, with every member where we say it is."""

import hashlib
import io
import tarfile

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.preparation.shards import ShardWriter

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="./\\"),
    min_size=1,
    max_size=60,
)


def write(members, path):
    with path.open("wb") as file:
        writer = ShardWriter(file)
        placed = [writer.add_bytes(name, data) for name, data in members.items()]
        size = writer.finish()
    assert size == path.stat().st_size
    return placed


@settings(max_examples=50)
@given(members=st.dictionaries(names, st.binary(max_size=2000), min_size=1, max_size=5))
def test_tarfile_reads_what_was_written_where_it_was_said_to_be(tmp_path_factory, members):
    path = tmp_path_factory.mktemp("shard") / "s.tar"
    placed = write(members, path)
    with tarfile.open(path) as tar:
        assert {entry.name: tar.extractfile(entry).read() for entry in tar} == members
    content = path.read_bytes()
    for member, data in zip(placed, members.values(), strict=True):
        assert content[member.offset : member.offset + member.size] == data
        assert member.sha256 == hashlib.sha256(data).hexdigest()
    assert len(content) % tarfile.RECORDSIZE == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves it open
def test_long_names_survive(tmp_path):
    key = "x" * 200
    write({f"{key}.mp4": b"1", f"{key}.json": b"{}"}, tmp_path / "s.tar")
    (sample,) = webdataset.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False)
    assert sample["__key__"] == key


def test_headers_carry_no_time_and_no_owner(tmp_path):
    write({"a": b"1"}, tmp_path / "s.tar")
    with tarfile.open(tmp_path / "s.tar") as tar:
        (entry,) = tar
    assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, 0, "", "")


def test_files_are_copied_in(tmp_path):
    source = tmp_path / "clip.mp4"
    source.write_bytes(b"video" * 500_000)
    file = io.BytesIO()
    member = ShardWriter(file).add_file("clip.mp4", source)
    assert file.getvalue()[member.offset :][: member.size] == source.read_bytes()
    assert member.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
