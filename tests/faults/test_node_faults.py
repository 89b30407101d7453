"""prepare() when nodes die: one of two, the driver's on a cluster that lives on, and the only one there is."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.preparation.prepare import prepare
from tests.processes import PATIENCE, descendants, wait_for, working_processes
from tests.small_corpus import CONFIG, SOUND_CLIPS, folder_bytes, prepare_without_ray, write_corpus

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
ROOT = Path(__file__).parents[2]

DRIVER = """
import sys, ray
from pathlib import Path
from pipelines.corpus.metadata import read_metadata
from pipelines.preparation.prepare import prepare
from tests.small_corpus import CONFIG
folder, out = map(Path, sys.argv[1:3])
ray.init(address=sys.argv[3], logging_level="ERROR", log_to_driver=False)
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
    """A head node with this driver and one processor."""
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def test_a_node_that_dies_takes_no_clip_along(corpus, undisturbed, cluster, tmp_path):
    folder, metadata = corpus
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    raylet = other.all_processes["raylet"][0].process.pid
    killed = []

    def kill_raylet() -> None:
        killed.extend(wait_for(lambda: working_processes(raylet)))
        os.kill(raylet, signal.SIGKILL)

    killer = threading.Thread(target=kill_raylet)
    killer.start()
    summary = prepare(metadata, CONFIG, folder / "videos", tmp_path / "out", progress=False)
    killer.join()
    assert killed, "the node was at work"
    assert (summary.written, summary.failed) == (SOUND_CLIPS, 0)
    assert folder_bytes(tmp_path / "out") == undisturbed


def test_a_killed_driver_is_run_again_while_its_workers_may_still_live(
    corpus, undisturbed, cluster, tmp_path
):
    folder, metadata = corpus
    out = tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), str(out), cluster.address],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: list(out.glob(".outcomes/*.parquet")))
    finally:
        driver.kill()
        driver.wait()
    assert not (out / "dataset.json").exists()
    summary = prepare(metadata, CONFIG, folder / "videos", out, progress=False)
    assert (summary.written, summary.failed) == (SOUND_CLIPS, 0)
    assert summary.shards_kept > 0
    assert folder_bytes(out) == undisturbed


def test_the_only_node_dies_with_a_word_and_a_rerun_goes_on(corpus, undisturbed, tmp_path):
    folder, _ = corpus
    command = [
        sys.executable, "-m", "orchestration.cli", "prepare", "--dataset", "taichi",
        "--metadata", str(folder / "metadata.csv"), "--videos", str(folder / "videos"),
        "--out", str(tmp_path / "out"),
        "--prepare.size", str(CONFIG.size), "--prepare.shard_mb", str(CONFIG.shard_mb),
    ]  # fmt: skip
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    run = subprocess.Popen(
        command,
        env={**alone, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: working_processes(run.pid))
        (raylet,) = descendants(run.pid, b"raylet/raylet")
        os.kill(raylet, signal.SIGKILL)
        errors = run.communicate(timeout=PATIENCE)[1]
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 1
    assert errors.splitlines()[-1].startswith("lia: Ray's process on this machine (raylet) died")
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "dataset.json").exists()
    subprocess.run(command, env={**alone, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    assert folder_bytes(tmp_path / "out") == undisturbed
