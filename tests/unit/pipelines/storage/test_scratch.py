"""Scratch folders: gone when their block ends, and soon after their process was killed."""

import errno
import signal
import subprocess
import sys

import pytest

from pipelines.errors import StorageError
from pipelines.storage.scratch import PREFIX, scratch_folder

HOLDER = """
import sys, time
from pipelines.storage.scratch import scratch_folder
with scratch_folder("test") as folder:
    (folder / "half.mp4").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def tmpdir(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_a_folder_lasts_as_long_as_its_block(tmpdir):
    with scratch_folder("test") as folder:
        assert folder.parent == tmpdir
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        with scratch_folder("test") as other:
            assert sorted(tmpdir.iterdir()) == sorted([folder, other])
    assert not list(tmpdir.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmpdir):
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        held = tmpdir / holder.stdout.readline().strip()
        with scratch_folder("test"):
            assert (held / "half.mp4").exists()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (held / "half.mp4").exists()
    with scratch_folder("test") as folder:
        assert list(tmpdir.iterdir()) == [folder]


def test_only_scratch_folders_are_swept(tmpdir):
    outside = tmpdir / "elsewhere"
    outside.mkdir()
    (outside / "file").touch()
    (tmpdir / f"{PREFIX}link").symlink_to(outside)
    (tmpdir / f"{PREFIX}file").touch()
    with scratch_folder("test"):
        pass
    assert (outside / "file").exists()
    assert len(list(tmpdir.iterdir())) == 3


def test_a_full_disk_is_named(tmpdir):
    told = pytest.raises(StorageError, match=f"^{tmpdir}: no space left for temporary files.*TMPDIR")
    with told, scratch_folder("test"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmpdir.iterdir())
