"""prepare() when things die: the driver in the middle of a run, a worker in the middle of a shard."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.plan import plan_shards
from pipelines.prepare import prepare
from tests.small_corpus import CONFIG, SOUND_CLIPS, folder_bytes, prepare_without_ray, write_corpus

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

DRIVER = """
import sys, ray
from pathlib import Path
from pipelines.metadata import read_metadata
from pipelines.prepare import prepare
from tests.small_corpus import CONFIG
folder, out = map(Path, sys.argv[1:])
ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
prepare(read_metadata(folder / "metadata.csv", "taichi", folder / "videos"), CONFIG, folder / "videos", out)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    metadata, _ = write_corpus(folder, with_failures=False)
    return folder, metadata


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    """The folder that a run without accidents leaves."""
    folder, metadata = corpus
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    prepare_without_ray(metadata, CONFIG, folder / "videos", out)
    return folder_bytes(out)


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def wait_for(condition, seconds: float = 60.0):
    """Poll until `condition` gives something; that something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.005)
    pytest.fail(f"did not come about in {seconds:g} s")


def test_a_killed_run_is_resumed_to_the_same_bytes(corpus, undisturbed, cluster, tmp_path):
    folder, metadata = corpus
    out = tmp_path / "out"
    path = os.pathsep.join(
        str(Path(entry)) for entry in (Path(__file__).parents[1], Path(__file__).parents[2])
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), str(out)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: list(out.glob(".outcomes/*.parquet")))
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    assert not (out / "dataset.json").exists()
    published = {name for name in folder_bytes(out) if name.endswith(".parquet")}
    assert 0 < len(published) < len(plan_shards(metadata.clips, CONFIG))
    for tar in out.glob("*.tar"):
        assert undisturbed[tar.name] == tar.read_bytes(), "a shard is there whole or not at all"
    summary = prepare(metadata, CONFIG, folder / "videos", out, progress=False)
    assert summary.written == SOUND_CLIPS
    assert summary.shards_kept > 0
    assert folder_bytes(out) == undisturbed


def test_a_killed_worker_is_replaced(corpus, undisturbed, cluster, tmp_path):
    folder, metadata = corpus
    killed = []

    def kill_first_worker() -> None:
        (pid, *_) = wait_for(working_processes)
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    killer = threading.Thread(target=kill_first_worker)
    killer.start()
    summary = prepare(metadata, CONFIG, folder / "videos", tmp_path / "out", progress=False)
    killer.join()
    assert killed
    assert (summary.written, summary.failed) == (SOUND_CLIPS, 0)
    assert folder_bytes(tmp_path / "out") == undisturbed


def working_processes() -> list[int]:
    """The processes of this test's Ray that run a task of prepare just now, by their titles."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::Map(_Worker)") and os.getpid() in ancestors(int(entry.name)):
            found.append(int(entry.name))
    return found


def ancestors(pid: int) -> list[int]:
    """Parents of a process up to the first; as far as they still exist."""
    parents = []
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
        parents.append(pid)
    return parents
