"""prepare() when processes die: the driver with all of its cluster, a worker in a shard, whatever chance hits."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from orchestration.cluster import start_locally
from pipelines.preparation.plan import plan_shards
from pipelines.preparation.prepare import prepare
from tests.processes import WORKING, descendants, wait_for, working_processes
from tests.small_corpus import CONFIG, SOUND_CLIPS, folder_bytes, prepare_without_ray, write_corpus

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# All that a preparation consists of below the driver, but Ray's own daemons.
MORTAL = (WORKING, b"ray::Tally", b"ffmpeg", b"pipelines.cropping.decoder_process")
KILLS = 12

DRIVER = """
import sys, ray
from pathlib import Path
from pipelines.corpus.metadata import read_metadata
from pipelines.preparation.prepare import prepare
from tests.processes import WORKING, descendants, wait_for, working_processes
from tests.small_corpus import CONFIG
folder, out = map(Path, sys.argv[1:])
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
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

    start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


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


def test_processes_killed_at_random_change_nothing(corpus, undisturbed, cluster, tmp_path):
    folder, metadata = corpus
    chance = np.random.default_rng(0)
    over = threading.Event()
    killed = []

    def kill() -> None:
        wait_for(working_processes)
        while len(killed) < KILLS and not over.wait(chance.uniform(0.1, 0.6)):
            kinds = [found for word in MORTAL if (found := descendants(os.getpid(), word))]
            if kinds:
                victim = int(chance.choice(kinds[chance.integers(len(kinds))]))
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = prepare(metadata, CONFIG, folder / "videos", tmp_path / "out", progress=False)
    over.set()
    killer.join()
    assert len(killed) > 2
    assert (summary.written, summary.failed) == (SOUND_CLIPS, 0)
    assert folder_bytes(tmp_path / "out") == undisturbed
