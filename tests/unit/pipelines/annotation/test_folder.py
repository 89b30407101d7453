"""An annotation's folder: whose it is, and what is written into it."""

import os

import pyarrow.parquet as pq
import pytest

from pipelines.annotation.folder import AnnotationFolder
from pipelines.annotation.records import Failure, VideoRecord
from pipelines.errors import DatasetError


def folder_at(out, **settings) -> AnnotationFolder:
    return AnnotationFolder(out=out, settings=settings)


def test_names_that_are_not_utf8_are_published(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    failure = Failure(reason="unusable_name", message=f"/videos/{name}: no")
    record = VideoRecord(video_id=name[:-4], video_path=name, failure=failure)
    folder = folder_at(tmp_path / "out")
    with folder.claimed():
        folder.keep(record, "state")
        assert folder.record(name, "state") == record
        folder.publish([record], [], with_persons=False, description={})
    (row,) = pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    assert (row["video_path"], row["message"]) == (r"caf\udce9.mp4", r"/videos/caf\udce9.mp4: no")


def test_one_process_at_a_time(tmp_path):
    work = "another annotation is at work in this folder"
    with folder_at(tmp_path / "out").claimed(), pytest.raises(DatasetError, match=work):
        folder_at(tmp_path / "out").claimed().__enter__()
    with folder_at(tmp_path / "out").claimed():
        pass


@pytest.mark.parametrize("left", [(), (".lock",), (".lock", ".settings.json.1.partial")])
def test_a_claim_that_was_killed_is_taken_up(left, tmp_path):
    (tmp_path / "out" / ".records").mkdir(parents=True)
    for name in left:
        (tmp_path / "out" / ".records" / name).touch()
    with folder_at(tmp_path / "out").claimed():
        assert (tmp_path / "out" / ".records" / "settings.json").is_file()


@pytest.mark.parametrize("name", ["notes.txt", ".records/another.json"])
def test_other_files_are_left_alone(name, tmp_path):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(DatasetError, match="holds other files"):
        folder_at(tmp_path / "out").claimed().__enter__()
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]
