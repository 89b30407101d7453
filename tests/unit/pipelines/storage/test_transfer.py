"""Patience with servers: how often they are asked, and from where on."""

import io

import pytest
from pyarrow import fs

from pipelines.errors import StorageError, TransientError
from pipelines.storage import object_store, transfer
from pipelines.storage.http_folder import HttpFolder
from pipelines.storage.location import RemoteFolder
from pipelines.storage.object_store import ObjectStore
from tests.faulty_http import folder, serving

CONTENT = bytes(range(100))


class CuttingOrigin:
    """A server that cuts every transfer after some bytes."""

    def __init__(self, bytes_an_attempt: int) -> None:
        self.bytes_an_attempt = bytes_an_attempt
        self.starts: list[int] = []

    def chunks(self, name, start=0):
        self.starts.append(start)
        yield CONTENT[start : start + self.bytes_an_attempt]
        if start + self.bytes_an_attempt < len(CONTENT):
            raise TransientError("cut")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(transfer, "WAITS_S", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_line_that_cuts_again_and_again_brings_the_file_as_long_as_it_brings_bytes():
    origin, file = CuttingOrigin(10), io.BytesIO()
    assert transfer.download(origin, "a", file, most=1000) == len(CONTENT)
    assert file.getvalue() == CONTENT
    assert origin.starts == [*range(0, 100, 10)]


def test_a_line_that_brings_nothing_is_given_up():
    origin = CuttingOrigin(0)
    with pytest.raises(StorageError, match="cut Given up after 3 attempts without progress"):
        transfer.download(origin, "a", io.BytesIO(), most=1000)
    assert origin.starts == [0, 0, 0]


def test_object_storage_whose_client_has_given_up_is_not_asked_again(monkeypatch):
    asked = []

    def connect(uri, process):
        asked.append(uri)
        raise OSError("AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(object_store, "_connect", connect)
    with pytest.raises(StorageError, match="NETWORK_CONNECTION"):
        transfer.download(ObjectStore(RemoteFolder("s3://bucket/a")), "x", io.BytesIO(), most=9)
    assert len(asked) == 1


@pytest.mark.parametrize("start", [0, 1, 9, 10, 25, 100])
@pytest.mark.parametrize("ranged", [True, False])
def test_a_file_comes_from_a_byte_on_whether_the_server_knows_ranges_or_not(
    tmp_path, monkeypatch, start, ranged
):
    monkeypatch.setattr("pipelines.storage.http_folder.CHUNK", 10)
    (tmp_path / "a").write_bytes(CONTENT)
    with serving(folder(tmp_path, ranged=ranged)) as server:
        got = b"".join(HttpFolder(RemoteFolder(server.url)).chunks("a", start))
    assert got == CONTENT[start:]
    assert server.ranges == [f"bytes={start}-" if start else None]


def test_a_broken_upload_does_not_leave_half_an_object(tmp_path, monkeypatch):
    class BrokenDisk(OSError):
        pass

    def copy(file, stream, length):
        stream.write(b"half")
        raise BrokenDisk("the local disk")

    monkeypatch.setattr(
        "pipelines.storage.object_store._connect", lambda *_: (fs.LocalFileSystem(), str(tmp_path))
    )
    monkeypatch.setattr("pipelines.storage.object_store.shutil.copyfileobj", copy)
    (tmp_path / "a").write_bytes(b"old")
    store = ObjectStore(RemoteFolder("s3://bucket/a"))
    with pytest.raises(StorageError, match="the local disk"), store.publish("a") as written:
        written.write_bytes(b"new")
    assert store.size("a") is None
