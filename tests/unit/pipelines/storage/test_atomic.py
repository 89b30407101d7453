"""Files and folders that are there whole or not at all."""

import pytest

from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_folder, atomic_path


def test_a_folder_appears_when_it_is_full(tmp_path):
    with atomic_folder(tmp_path / "clip") as partial:
        (partial / "0.png").write_bytes(b"frame")
        assert not (tmp_path / "clip").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]
    assert (tmp_path / "clip" / "0.png").read_bytes() == b"frame"


def _fill_folder(path):
    with atomic_folder(path) as partial:
        (partial / "0.png").touch()
        raise OSError("disk full")


def _write_file(path):
    with atomic_path(path) as partial:
        partial.write_bytes(b"half")
        raise OSError("disk full")


@pytest.mark.parametrize("write", [_fill_folder, _write_file])
def test_nothing_appears_when_writing_fails(tmp_path, write):
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "result")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("context", [atomic_folder, atomic_path])
def test_the_parent_must_be_there(tmp_path, context):
    with pytest.raises(InputError, match="no such folder"), context(tmp_path / "none" / "result"):
        pass
