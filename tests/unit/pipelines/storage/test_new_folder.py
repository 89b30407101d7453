"""Folders to be made later."""

from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.storage.new_folder import require_makeable


def test_nothing_is_left_where_a_folder_can_be_made(tmp_path):
    require_makeable(tmp_path / "a" / "b")
    require_makeable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder_is_looked_at_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    require_makeable(Path("runs/one"))
    (tmp_path / "runs").touch()
    with pytest.raises(InputError, match="runs: is not a folder"):
        require_makeable(Path("runs/one"))


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "astray").symlink_to(tmp_path / "gone")
    for name in ("file", "astray"):
        with pytest.raises(InputError, match=f"{name}: (is not a folder|cannot be written to).*--out"):
            require_makeable(tmp_path / name / "run")
