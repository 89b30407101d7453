"""`lia download` when processes die: the driver in the middle of a video, a worker in the middle of a video."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestration.cluster import start_locally
from pipelines.corpus.metadata import read_metadata
from pipelines.download.config import DownloadConfig
from pipelines.download.download import download
from pipelines.download.ledger import NAME
from pipelines.download.source import Source
from tests.coded_video import FPS_25, write_coded
from tests.processes import wait_for
from tests.video_server import Answer, video_server

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

ROOT = Path(__file__).parents[2]
HEADER = "video_id,start,end,bbox,fps,width,height,partition"
QUICK = DownloadConfig(per_minute=0, backoff_seconds=0.05, concurrency=1)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_coded(tmp_path_factory.mktemp("video") / "v.mp4", 400, FPS_25).read_bytes()


@pytest.fixture
def server(video):
    with video_server() as running:
        running.files = {f"/{name}.mp4": video for name in ("first", "second", "third")}
        yield running


@pytest.fixture
def metadata(tmp_path):
    rows = [f"{name},0,40,0-0-160-96,25,160,96,train" for name in ("first", "dead", "second", "third")]
    path = tmp_path / "metadata.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    (tmp_path / "videos").mkdir()
    return path


@pytest.fixture(scope="module")
def cluster():
    import ray

    start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def half_file(videos: Path) -> Path | None:
    """The file of a download under way, once it holds something."""
    return next((path for path in videos.glob(".download/second-*/*.part") if path.stat().st_size), None)


def test_a_killed_download_goes_on_in_the_middle_of_a_video(server, video, metadata, cluster, tmp_path):
    videos = tmp_path / "videos"
    server.answers["/second.mp4"] = [Answer(), Answer(wait=threading.Event())]
    flags = ["--dataset", "taichi", "--metadata", metadata, "--videos", videos, "--proxy", ""]
    flags += ["--url-template", server.template, "--per-minute", "0", "--concurrency", "1"]
    driver = subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", "download", *map(str, flags)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        half = wait_for(lambda: half_file(videos))
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    wait_for(lambda: not processes_with_open(half))  # Ray's workers outlive their driver by moments
    size = half.stat().st_size
    assert half.read_bytes() == video[:size]
    with (videos / NAME).open("a") as ledger:
        ledger.write('{"video_id": "second", "outc')
    before = len(server.requests)
    summary = download(
        read_metadata(metadata, "taichi", videos),
        Source(template=server.template, proxy=""),
        QUICK,
        videos,
        progress=False,
    )
    asked = server.requests[before:]
    assert summary.complete
    assert {request.path for request in asked} == {"/second.mp4", "/third.mp4"}
    assert [request.range for request in asked if request.path == "/second.mp4"] == [None, f"bytes={size}-"]
    for name in ("first", "second", "third"):
        assert (videos / f"{name}.mp4").read_bytes() == video
    first, dead, torn, *rest = (videos / NAME).read_text().splitlines()
    assert [json.loads(line)["outcome"] for line in (first, dead)] == ["downloaded", "not_found"]
    assert torn.endswith('"outc')
    assert [json.loads(line)["video_id"] for line in rest] == ["second", "third"]


def test_a_killed_worker_costs_an_attempt(server, video, metadata, cluster, tmp_path):
    videos = tmp_path / "videos"
    server.answers["/second.mp4"] = [Answer(), Answer(wait=threading.Event())]

    def kill_worker() -> None:
        half = wait_for(lambda: half_file(videos))
        for pid in wait_for(lambda: processes_with_open(half)):
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_worker)
    killer.start()
    summary = download(
        read_metadata(metadata, "taichi", videos),
        Source(template=server.template, proxy=""),
        QUICK,
        videos,
        progress=False,
    )
    killer.join()
    assert summary.complete
    assert (videos / "second.mp4").read_bytes() == video
    rows = [json.loads(line) for line in (videos / NAME).read_text().splitlines()]
    assert {row["video_id"]: row["attempts"] for row in rows} == {
        "first": 1,
        "dead": 1,
        "second": 2,
        "third": 1,
    }
    assert server.asked("/second.mp4")[-1].range is not None


def processes_with_open(path: Path) -> list[int]:
    """The processes that have a file open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == path:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found
