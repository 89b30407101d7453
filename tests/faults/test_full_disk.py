"""prepare() and the cache on disks that are full or read-only: a clear error, nothing lost, and a rerun finishes."""

import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from orchestration.cli import main
from orchestration.cluster import start_locally
from pipelines.annotation.folder import AnnotationFolder
from pipelines.annotation.records import Failure, VideoRecord
from pipelines.errors import StorageError
from pipelines.preparation.shard_task import ShardTask
from pipelines.storage.shard_cache import ShardCache
from pipelines.storage.store import LocalStore
from tests.small_corpus import CONFIG, SOUND_CLIPS, folder_bytes, prepare_without_ray, write_corpus

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="mounts file systems: needs root on Linux"
    ),
]
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@pytest.fixture
def mount(tmp_path):
    """Mounts a small disk at a folder, for the length of a test."""
    mounted = []

    def at(name: str, options: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"may not mount here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield at
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    metadata, _ = write_corpus(root, with_failures=False)
    return root, metadata


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    prepare_without_ray(corpus[1], CONFIG, corpus[0] / "videos", out)
    return folder_bytes(out)


@pytest.fixture
def cluster():
    import ray

    start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def prepare(corpus, out: Path) -> int:
    root = corpus[0]
    return main(
        [
            "prepare", "--dataset", "taichi", "--metadata", str(root / "metadata.csv"),
            "--videos", str(root / "videos"), "--out", str(out),
            "--prepare.size", str(CONFIG.size), "--prepare.shard_mb", str(CONFIG.shard_mb),
        ]
    )  # fmt: skip


def test_an_output_that_fills_up(corpus, undisturbed, cluster, mount, capfd):
    disk = mount("disk", "size=1m")
    assert prepare(corpus, disk / "out") == 1
    message = capfd.readouterr().err.splitlines()[-1]
    assert message.startswith(f"lia prepare: {disk / 'out'}/")
    assert "cannot be written: No space left on device. Make room there" in message
    left = folder_bytes(disk / "out")
    assert "dataset.json" not in left
    assert not [name for name in left if "partial" in name]
    assert all(undisturbed[name] == data for name, data in left.items())
    remount(disk, "size=64m")
    assert prepare(corpus, disk / "out") == 0
    assert folder_bytes(disk / "out") == undisturbed


def test_an_output_that_cannot_be_written_to(corpus, mount, capfd):
    disk = mount("disk", "size=64m,ro")
    assert prepare(corpus, disk / "out") == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cannot be written: Read-only file system. Name a folder that can be written to." in lines[0]


def test_a_finished_dataset_is_confirmed_where_nothing_can_be_written(corpus, undisturbed, mount, capfd):
    disk = mount("disk", "size=64m")
    prepare_without_ray(corpus[1], CONFIG, corpus[0] / "videos", disk / "out")
    remount(disk, "ro")
    assert prepare(corpus, disk / "out") == 0
    assert f"{SOUND_CLIPS} clips = {SOUND_CLIPS} written + 0 failed" in capfd.readouterr().out
    remount(disk, "rw")
    (disk / "out" / "shardindex.json").write_text("{}")
    remount(disk, "ro")
    assert prepare(corpus, disk / "out") == 1
    assert "shardindex.json: cannot be written: Read-only file system." in capfd.readouterr().err


def test_an_output_that_becomes_read_only(corpus, undisturbed, mount):
    disk = mount("disk", "size=64m")
    prepare_without_ray(corpus[1], CONFIG, corpus[0] / "videos", disk / "out")
    store = LocalStore(disk / "out")
    remount(disk, "ro")
    with pytest.raises(StorageError, match="Read-only"), store.publish("dataset.json") as partial:
        partial.write_text("{}")
    with pytest.raises(StorageError, match="Read-only"):
        store.remove("dataset.json")
    assert folder_bytes(disk / "out") == undisturbed


def _publish_after_all_clips(task, plan, results, publish=ShardTask._publish):
    publish(task, plan, iter(list(results)))


def clip_bytes(files: dict[str, bytes]) -> list[int]:
    """Sizes of the clips in a dataset's shards."""
    sizes = []
    for name, data in files.items():
        if name.endswith(".tar"):
            with tarfile.open(fileobj=BytesIO(data)) as tar:
                sizes += [member.size for member in tar if member.name.endswith(".mp4")]
    return sizes


# Room for nothing much, for no whole clip, and for one of a shard's two.
@pytest.mark.parametrize("kilobytes", [16, 64, 100])
def test_a_full_scratch_disk_is_no_clips_fault(corpus, undisturbed, mount, monkeypatch, tmp_path, kilobytes):
    sizes = clip_bytes(undisturbed)
    assert 64 << 10 < min(sizes) <= max(sizes) < 100 << 10 < 2 * min(sizes)
    scratch = mount("scratch", f"size={kilobytes}k")
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(scratch))
        # Otherwise the first clip may be gone from the disk before there is much of the second.
        patch.setattr(ShardTask, "_publish", _publish_after_all_clips)
        with pytest.raises(StorageError, match=f"{scratch}: no space left for temporary files.*TMPDIR"):
            prepare_without_ray(corpus[1], CONFIG, corpus[0] / "videos", out)
        assert not list(scratch.iterdir())
    left = folder_bytes(out)
    assert all(undisturbed[name] == data for name, data in left.items())
    prepare_without_ray(corpus[1], CONFIG, corpus[0] / "videos", out)
    assert folder_bytes(out) == undisturbed


def test_an_export_and_a_page_that_cannot_be_written(corpus, mount, capsys):
    disk = mount("disk", "size=64m")
    prepare_without_ray(corpus[1], CONFIG, corpus[0] / "videos", disk / "out")
    remount(disk, "ro")
    assert main(["inspect", str(disk / "out")]) == 1
    assert capsys.readouterr().err == (
        f"lia inspect: {disk}/out/inspect.html: cannot be written: Read-only file system. "
        "Name a file with --out that can be written to.\n"
    )
    full = mount("full", "size=4k")
    (full / "filler").write_bytes(bytes(4096))
    assert main(["export", str(disk / "out"), "--out", str(full / "e")]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"lia export: {full}/e/")
    assert "cannot be written: No space left on device. Make room there, or name another folder." in message


def test_an_annotation_on_a_full_disk(mount):
    disk = mount("annotation", "size=64k")
    failure = Failure(reason="unreadable", message="x" * 3000)
    records = [
        VideoRecord(video_id=f"v{number}", video_path=f"v{number}.mp4", failure=failure)
        for number in range(40)
    ]
    folder = AnnotationFolder(out=disk / "out", settings={})
    full = r"cannot be written: No space left on device\. Make room there"

    def keep_all() -> None:
        for record in records:
            folder.keep(record, "state")

    with folder.claimed():
        with pytest.raises(StorageError, match=rf"\.records/[0-9a-f]+\.json: {full}"):
            keep_all()
        with pytest.raises(StorageError, match=rf"{disk / 'out'}/[a-z.]+: {full}"):
            folder.publish(records, [], with_persons=False, description={})
        remount(disk, "size=8m")
        folder.publish(records, [], with_persons=False, description={})
    assert not list(disk.rglob("*.partial"))


def test_a_cache_on_a_full_disk(mount):
    from pipelines.storage.transfer import download

    class Endless:
        def chunks(self, name: str, start: int = 0):
            while True:
                yield bytes(1 << 16)

    disk = mount("cache", "size=1m")
    cache = ShardCache(disk / "shards", limit=10**9)
    with pytest.raises(StorageError, match=r"No space left on device.*LIA_CACHE_GB"):
        cache.open("key/a.tar", 1 << 24, lambda file: download(Endless(), "a.tar", file, most=1 << 24))
    assert not [path for path in disk.rglob("*") if path.is_file() and path.suffix != ".lock"]
