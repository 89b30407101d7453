"""Stand-in wheels and a stand-in pip: nothing here uses the network."""

import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.assets import table as assets_table
from orchestration.assets import wheels as assets_wheels
from orchestration.assets.asset import Asset, UserFile, Wheel
from tests.unit.orchestration.assets.stand_in import CONTENT, MEMBER, sha256


@pytest.fixture
def wheels(tmp_path):
    """A folder with one wheel that carries MEMBER."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "package-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr("package/__init__.py", "raise AssertionError('imported')")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def table(wheels, monkeypatch):
    """Replaces the table of assets by one that is kept as it is and one that is converted; returns it."""
    wheel = wheels / "package-1.0-py3-none-any.whl"
    carrier = Wheel(
        project="package", version="1.0", filename=wheel.name, sha256=sha256(wheel.read_bytes()), megabytes=1
    )
    plain = Asset(
        name="video.mp4", wheel=carrier, member=MEMBER, member_sha256=sha256(CONTENT), source="a test"
    )
    converted = replace(plain, name="upper.bin", convert=bytes.upper, recipe=1)
    monkeypatch.setattr(assets_table, "ASSETS", {a.name: a for a in (plain, converted)})
    monkeypatch.setattr(assets_table, "USER_FILES", {})
    return assets_table.ASSETS


@pytest.fixture
def user_file(table, monkeypatch):
    """The only file in the table that the user has to bring."""
    file = UserFile(
        name="big.pth",
        sha256=sha256(b"big"),
        url="https://publisher.test/big.pth",
        megabytes=3,
        source="a test",
    )
    monkeypatch.setattr(assets_table, "USER_FILES", {file.name: file})
    return file


@pytest.fixture
def pip(monkeypatch, wheels):
    """A stand-in for pip: `pip.fails` makes it fail with that on stderr; `pip.calls` has its command lines."""

    class Pip:
        def __init__(self):
            self.calls, self.fails = [], None

        def run(self, command, **_named):
            self.calls.append(command)
            if self.fails is not None:
                return subprocess.CompletedProcess(command, 1, "", self.fails)
            for wheel in wheels.iterdir():
                target = Path(command[command.index("--dest") + 1]) / wheel.name
                target.write_bytes(wheel.read_bytes())
            return subprocess.CompletedProcess(command, 0, "", "")

    stand_in = Pip()
    monkeypatch.setattr(assets_wheels.subprocess, "run", stand_in.run)
    return stand_in
