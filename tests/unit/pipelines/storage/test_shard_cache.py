"""The cache of remote files: fetched once, whole or not at all, the least recently used making room."""

import errno
import fcntl
import mmap
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from pipelines.errors import InputError, StorageError
from pipelines.storage.shard_cache import ShardCache

SIZE = 1000


@pytest.fixture
def cache(tmp_path):
    return ShardCache(tmp_path / "shards", limit=3 * SIZE)


def fill(file, letter: str = "x", size: int = SIZE) -> None:
    file.write(letter.encode() * size)
    file.flush()


def hold(cache: ShardCache, name: str):
    """Open a file of the cache, fetched if need be; its letter is that of its name."""
    return cache.open(f"key/{name}.tar", SIZE, partial(fill, letter=name[0]))


def kept(cache: ShardCache) -> list[str]:
    return sorted(path.stem for path in cache.folder.glob("key/*.tar"))


def age(cache: ShardCache, name: str, seconds: int) -> None:
    os.utime(cache.folder / "key" / f"{name}.tar", (seconds, seconds))


def test_a_file_is_fetched_when_it_is_not_there(cache):
    with hold(cache, "a") as file:
        assert file.read() == b"a" * SIZE
    with cache.open("key/a.tar", SIZE, lambda file: pytest.fail("it is there")) as file:
        assert file.read() == b"a" * SIZE


def test_what_was_used_least_recently_makes_room(cache):
    for second, name in enumerate("abc"):
        hold(cache, name).close()
        age(cache, name, second)
    hold(cache, "a").close()  # now the newest
    hold(cache, "d").close()
    assert kept(cache) == ["a", "c", "d"]


def test_a_mapped_file_is_never_removed(cache):
    with hold(cache, "a") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for name in "bcde":  # the map alone protects it: the file it was made of is closed
        hold(cache, name).close()
    assert "a" in kept(cache)
    assert len(kept(cache)) == 3
    mapped.close()
    age(cache, "a", 0)
    hold(cache, "f").close()
    assert "a" not in kept(cache)


def test_the_limit_gives_way_to_what_is_in_use(cache):
    held = [hold(cache, name) for name in "abcd"]
    assert kept(cache) == ["a", "b", "c", "d"]
    for file in held:
        file.close()
    hold(cache, "e").close()
    assert len(kept(cache)) == 3


def test_a_map_outlives_the_removal_of_its_file(cache):
    with hold(cache, "a") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    (cache.folder / "key" / "a.tar").unlink()
    assert mapped[:] == b"a" * SIZE
    hold(cache, "a").close()
    assert kept(cache) == ["a"]


def test_a_failed_fetch_leaves_nothing(cache):
    def fail(file):
        file.write(b"half")
        raise StorageError("the server is gone")

    with pytest.raises(StorageError, match="the server is gone"):
        cache.open("key/a.tar", SIZE, fail)
    assert [path for path in cache.folder.rglob("*") if "partial" in path.name or path.suffix == ".tar"] == []
    hold(cache, "a").close()


def test_a_file_that_is_not_whole_is_fetched_anew(cache):
    hold(cache, "a").close()
    os.truncate(cache.folder / "key" / "a.tar", 10)
    with hold(cache, "a") as file:
        assert file.read() == b"a" * SIZE


def test_what_a_killed_process_left_counts_and_goes(cache):
    hold(cache, "a").close()
    leftover = cache.folder / "key" / ".z.tar.partial"
    leftover.write_bytes(bytes(2 * SIZE))
    os.utime(leftover, (0, 0))
    hold(cache, "b").close()
    assert not leftover.exists()
    assert kept(cache) == ["a", "b"]


def test_a_fetch_under_way_counts_in_full_and_stays(cache):
    def fill_and_look(file):
        for name in "bc":
            hold(cache, name).close()
            age(cache, name, 0)
        hold(cache, "d").close()
        fill(file, "a")

    with cache.open("key/a.tar", SIZE, fill_and_look) as file:
        assert file.read() == b"a" * SIZE
    assert len(kept(cache)) == 3


def read_slowly(folder: Path, log: Path) -> bytes:
    def fetch(file):
        with log.open("a") as lines:
            fcntl.flock(lines, fcntl.LOCK_EX)
            lines.write("fetched\n")
        fill(file, "a")

    with ShardCache(folder, 10 * SIZE).open("key/a.tar", SIZE, fetch) as file:
        return file.read()


@pytest.mark.parametrize(
    "pool", [ThreadPoolExecutor, partial(ProcessPoolExecutor, mp_context=get_context("fork"))]
)
def test_many_at_once_fetch_once(tmp_path, pool):
    log = tmp_path / "log"
    with pool(4) as workers:
        results = [workers.submit(read_slowly, tmp_path / "shards", log) for _ in range(8)]
        assert all(result.result() == b"a" * SIZE for result in results)
    assert log.read_text() == "fetched\n"


def test_small_files_are_kept_once(cache):
    path = cache.keep("key/manifest.parquet", fill)
    assert path.read_bytes() == b"x" * SIZE
    assert cache.keep("key/manifest.parquet", lambda file: pytest.fail("it is there")) == path
    for name in "abcd":
        hold(cache, name).close()
    assert path.exists()
    assert len(kept(cache)) == 2, "it counts"
    cache.keep("key/manifest.parquet", lambda file: pytest.fail("it is there"))


def test_tables_that_nobody_asked_for_make_room(cache):
    fresh, stale, asked = (cache.keep(f"{key}/manifest.parquet", fill) for key in ("fresh", "stale", "asked"))
    orphan = stale.with_name(".manifest.parquet.1234abcd.partial")
    orphan.write_bytes(bytes(SIZE))
    for path in (stale, orphan, asked):
        os.utime(path, (0, 0))
    cache.keep("asked/manifest.parquet", lambda file: pytest.fail("it is there"))
    hold(cache, "a").close()
    assert [path.exists() for path in (fresh, stale, orphan, asked)] == [True, False, False, True]
    assert kept(cache) == ["a"]


def test_what_a_killed_fetch_of_a_table_left_goes_with_the_next(cache):
    orphan = cache.folder / "key" / ".manifest.parquet.1234abcd.partial"
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    path = cache.keep("key/manifest.parquet", fill)
    assert not orphan.exists()
    assert path.exists()


def test_a_table_that_the_server_lacks_is_not_blamed_on_the_disk(cache):
    def absent(file):
        raise FileNotFoundError(errno.ENOENT, "no such object")

    with pytest.raises(FileNotFoundError):
        cache.keep("key/manifest.parquet", absent)


@pytest.mark.parametrize("way", ["open", "keep"])
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.open"])
def test_a_full_disk_is_told_with_its_remedy(cache, monkeypatch, way, call):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Path.open
    with monkeypatch.context() as patch:
        if call == "os.fsync":
            patch.setattr("os.fsync", full)
        else:
            patch.setattr(Path, "open", lambda path, mode="r": full() if "w" in mode else real(path, mode))
        with pytest.raises(StorageError, match=r"No space left.*LIA_CACHE_GB"):
            hold(cache, "a") if way == "open" else cache.keep("key/manifest.parquet", fill)
    assert [path for path in cache.folder.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="LIA_CACHE"):
        hold(ShardCache(tmp_path / "file" / "shards", SIZE), "a")


def test_the_environment_sets_folder_and_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("LIA_CACHE", str(tmp_path))
    monkeypatch.setenv("LIA_CACHE_GB", "1.5")
    assert ShardCache.from_environment() == ShardCache(tmp_path / "shards", 1_500_000_000)
    for text in ("much", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("LIA_CACHE_GB", text)
        with pytest.raises(InputError, match=f"LIA_CACHE_GB={text}"):
            ShardCache.from_environment()
