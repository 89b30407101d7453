"""`lia run` and detectors on a cluster of three kinds of machines: a head without processors, one that trains, one that
prepares.

Custom resources stand in the place of GPUs. The machine that prepares joins after the run has begun, as one that an
autoscaler starts. Shards go to an S3 server.
"""

import os
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipelines.annotation.annotate import AnnotateJob, annotate
from pipelines.annotation.config import AnnotateConfig
from tests.bright_squares import BLUE, BrightSquareDetector, write_scenes
from tests.processes import PATIENCE, wait_for
from tests.s3_server import BUCKET, moto_server, using_s3
from tests.small_pipeline import arguments, write_raw_corpus

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def s3():
    """The environment that leads to an S3 server on loopback."""
    with moto_server() as url, using_s3(url):
        yield


PLACES = {"LIA_PREPARE_ON": "prepare_node", "LIA_TRAIN_ON": "train_node"}


@pytest.fixture(scope="module")
def cluster(s3):
    """A head with this process and no processor, and a machine that runs networks."""
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
    nodes.add_node(num_cpus=2, resources={"train_node": 1000})
    yield nodes
    ray.shutdown()
    nodes.shutdown()


class Watch:
    """How many processors of each kind of machine were in use at most, by the phase that the work was in."""

    def __init__(self, phase: Callable[[], str]) -> None:
        self.most: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._phase, self._over = phase, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        import ray
        from ray._private.state import available_resources_per_node

        while not self._over.wait(0.1):
            phase = self._phase()
            free = available_resources_per_node()
            for node in ray.nodes():
                has = node["Resources"]
                kind = next((name for name in ("prepare_node", "train_node") if name in has), "head")
                used = has.get("CPU", 0) - free.get(node["NodeID"], {}).get("CPU", 0)
                self.most[phase][kind] = max(self.most[phase][kind], int(used))

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.slow
def test_each_work_is_done_on_machines_of_its_kind(cluster, tmp_path):
    corpus = write_raw_corpus(tmp_path / "corpus")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_ADDRESS": cluster.address,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        **PLACES,
    }
    command = [
        *(sys.executable, "-m", "orchestration.cli", "run", *arguments(corpus), "--schedule.steps", "6"),
        *("--out", tmp_path / "out", "--shards", f"s3://{BUCKET}/shards"),
    ]
    said = tmp_path / "said.txt"
    with said.open("wb") as log:
        run = subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log)
    watch = Watch(lambda: "networks" if " written + " in said.read_text(errors="replace") else "prepare")
    try:
        wait_for(lambda: "waiting for a machine that offers prepare_node" in said.read_text())
        cluster.add_node(num_cpus=2, resources={"prepare_node": 1000})
        assert run.wait(PATIENCE) == 0, said.read_text()
    finally:
        run.kill()
        watch.close()
    assert watch.most["prepare"]["prepare_node"] >= 1
    assert watch.most["networks"]["train_node"] >= 1
    assert watch.most["prepare"]["train_node"] == 0
    assert watch.most["networks"]["prepare_node"] == 0
    assert watch.most["prepare"]["head"] == watch.most["networks"]["head"] == 0
    (run_folder,) = (tmp_path / "out").glob("run-*")
    assert (run_folder / "registered.json").is_file()
    assert not list((tmp_path / "out").glob("dataset-*/*.tar"))
    assert f"s3://{BUCKET}/shards/dataset-" in said.read_text()


class NamingDetector(BrightSquareDetector):
    """Writes down on which machine it is."""

    def __init__(self, names: Path) -> None:
        import ray

        (names / ray.get_runtime_context().get_node_id()).touch()


@pytest.mark.slow
def test_detectors_are_where_networks_are_and_decoders_where_shards_are_made(cluster, tmp_path, monkeypatch):
    import ray

    for name, resource in PLACES.items():
        monkeypatch.setenv(name, resource)
    if "prepare_node" not in ray.cluster_resources():
        cluster.add_node(num_cpus=2, resources={"prepare_node": 1000})
    videos, names = tmp_path / "videos", tmp_path / "names"
    videos.mkdir()
    names.mkdir()
    for number in range(2):
        write_scenes(videos / f"{number}.mp4", [(BLUE, 60, lambda frame: [(60 + frame, 60, 80)])])
    watch = Watch(lambda: "annotate")
    try:
        job = AnnotateJob(
            videos=videos,
            out=tmp_path / "out",
            config=AnnotateConfig(min_frames=16, min_px=40),
            load=partial(NamingDetector, names),
            detector="squares",
        )
        summary = annotate(job, progress=False)
    finally:
        watch.close()
    assert summary.clips == 2
    kinds = {node["NodeID"]: node["Resources"] for node in ray.nodes()}
    assert [("train_node" in kinds[path.name]) for path in names.iterdir()] == [True]
    used = watch.most["annotate"]
    assert (used["prepare_node"], used["head"]) == (2, 0), "a decoder a processor"
    assert used["train_node"] >= 1
