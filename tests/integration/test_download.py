"""`lia download` under Ray, against a server on loopback that fails as real ones do."""

import json
import os
import sys
import time
from collections import Counter

import pytest

from orchestration.cli import main
from orchestration.cluster import start_locally
from pipelines.corpus.metadata import read_metadata
from pipelines.download.attempt import WORK_FOLDER, Fetched
from pipelines.download.config import DownloadConfig
from pipelines.download.download import download, status
from pipelines.download.ledger import NAME
from pipelines.download.schedule import Schedule
from pipelines.download.source import Source
from pipelines.errors import InputError, StorageError
from tests.coded_video import FPS_25, write_coded
from tests.video_server import Answer, video_server

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

HEADER = "video_id,start,end,bbox,fps,width,height,partition"
QUICK = DownloadConfig(per_minute=0, backoff_seconds=0.05, attempts=3)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_coded(tmp_path_factory.mktemp("video") / "v.mp4", 200, FPS_25).read_bytes()


@pytest.fixture
def server():
    with video_server() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


def write_metadata(folder, *video_ids):
    """Two clips a video, the second of every other video for testing."""
    rows = [
        f"{video_id},{start},{start + 40},0-0-160-96,25,160,96,{'test' if start and number % 2 else 'train'}"
        for number, video_id in enumerate(video_ids)
        for start in (0, 50)
    ]
    path = folder.parent / "metadata.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def run(server, folder, *video_ids, config=QUICK, **options):
    metadata = read_metadata(write_metadata(folder, *video_ids), "taichi", folder)
    return download(
        metadata, Source(template=server.template, proxy=""), config, folder, progress=False, **options
    )


def ledger(folder):
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def outcomes(folder):
    return {row["video_id"]: row["outcome"] for row in ledger(folder)}


def no_cluster():
    pytest.fail("there is nothing to download")


def test_what_can_be_had_is_had_and_the_rest_is_on_record(server, video, folder):
    server.files = {f"/{name}.mp4": video for name in ("fine", "cut", "busy", "broken", "down")}
    server.answers = {
        "/cut.mp4": [Answer(), Answer(cut_at=5000)],
        "/busy.mp4": [Answer(429, (("Retry-After", "1"),))],
        "/broken.mp4": [Answer(), Answer(503), Answer(500)],
        "/down.mp4": [Answer(502)] * 9,
    }
    summary = run(server, folder, "fine", "gone", "cut", "busy", "broken", "down")
    for name in ("fine", "cut", "busy", "broken"):
        assert (folder / f"{name}.mp4").read_bytes() == video
    assert server.asked("/cut.mp4")[-1].range.startswith("bytes=")
    assert outcomes(folder) == dict.fromkeys(("fine", "cut", "busy", "broken"), "downloaded") | {
        "gone": "not_found",
        "down": "server_error",
    }
    rows = {row["video_id"]: row for row in ledger(folder)}
    assert "HTTP Error 404: Not Found" in rows["gone"]["message"]
    assert {name: row["attempts"] for name, row in rows.items()} == {
        "fine": 1, "gone": 1, "cut": 2, "busy": 2, "broken": 3, "down": 3,
    }  # fmt: skip
    assert summary.coverage.videos["all"] == {"there": 4, "dead": 1, "left": 1}
    assert summary.coverage.clips["all"] == {"there": 8, "dead": 2, "left": 2}
    assert summary.reasons == {"not_found": 1, "server_error": 1}
    assert not summary.complete


def test_a_rerun_asks_only_for_what_may_come(server, video, folder):
    server.files["/fine.mp4"] = video
    server.answers["/down.mp4"] = [Answer(503)] * 3
    run(server, folder, "fine", "gone", "down")
    server.requests.clear()
    server.files["/down.mp4"] = video
    summary = run(server, folder, "fine", "gone", "down")
    assert {request.path for request in server.requests} == {"/down.mp4"}
    assert summary.complete
    assert not (folder / WORK_FOLDER).exists()
    assert run(server, folder, "fine", "gone", "down", cluster=no_cluster).complete


def test_the_dead_are_asked_again_on_request_and_at_another_address(server, video, folder):
    server.files["/b.mp4"] = video
    run(server, folder, "a", "b")
    server.files |= {"/a.mp4": video, "/mirror/c.mp4": video}
    run(server, folder, "a", "b", "c", retry_dead=True)
    assert outcomes(folder) == {"a": "downloaded", "b": "downloaded", "c": "not_found"}
    server.port = f"{server.port}/mirror"
    assert run(server, folder, "a", "b", "c").coverage.videos["all"]["there"] == 3


def test_an_attempt_that_takes_too_long_is_stopped_and_gone_on_with(server, video, folder):
    import threading

    server.files["/slow.mp4"] = video
    server.answers["/slow.mp4"] = [Answer(), Answer(wait=threading.Event())]
    config = DownloadConfig(per_minute=0, backoff_seconds=0.05, attempt_minutes_limit=0.15)
    assert run(server, folder, "slow", config=config).complete
    assert server.asked("/slow.mp4")[-1].range is not None
    assert (folder / "slow.mp4").read_bytes() == video
    assert ledger(folder)[0]["attempts"] >= 2


def test_waiting_for_a_worker_does_not_count_against_the_time_limit():
    import ray

    from pipelines.download.distribute import run_attempts

    class Attempt:  # in here, so that it travels to the workers
        config = DownloadConfig(per_minute=0, attempts=1, attempt_minutes_limit=0.04)

        def run(self, video_id):
            return Fetched(f"{video_id}.mp4", 1)

    @ray.remote(num_cpus=2)
    def occupy(seconds):
        time.sleep(seconds)

    occupied = occupy.remote(5)
    outcomes = []
    at_work: list[int] = []
    run_attempts(
        Attempt(), Schedule("a", Attempt.config), lambda *outcome: outcomes.append(outcome), at_work.append
    )
    assert outcomes == [("a", Fetched("a.mp4", 1))]
    assert set(at_work) == {0, 1}
    ray.get(occupied)


def test_a_server_that_answers_nobody_stops_the_run(server, folder):
    names = [f"v{number}" for number in range(12)]
    server.answers = {f"/{name}.mp4": [Answer(503)] * 9 for name in names}
    config = DownloadConfig(per_minute=0, backoff_seconds=0, failures_in_a_row=4, concurrency=1)
    summary = run(server, folder, *names, config=config)
    assert summary.stopped
    assert len(server.requests) == 4
    assert Counter(outcomes(folder).values()) == {"server_error": 4}
    assert summary.reasons == {"server_error": 4, "": 8}
    assert "stopped early" in summary.report()


def test_a_folder_that_cannot_be_written_ends_the_run(server, video, folder):
    server.files["/a.mp4"] = video
    (folder / WORK_FOLDER).touch()
    with pytest.raises(StorageError, match="cannot be written to"):
        run(server, folder, "a")
    assert ledger(folder) == []


def test_a_folder_of_videos_needs_no_ytdlp(server, video, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    (folder / "a.mkv").write_bytes(video)
    assert run(server, folder, "a", cluster=no_cluster).complete
    with pytest.raises(InputError, match=r"pip install 'lia-platform\[download\]'"):
        run(server, folder, "a", "b", cluster=no_cluster)


def test_the_status_of_a_folder_still_to_be_made(server, folder):
    metadata = read_metadata(write_metadata(folder, "a"), "taichi", None)
    absent = folder / "absent"
    assert status(metadata, Source(template=server.template), absent).coverage.videos["all"]["left"] == 1
    assert not absent.exists()


def test_status_writes_nothing_and_asks_nobody(server, folder):
    metadata = read_metadata(write_metadata(folder, "a"), "taichi", folder)
    report = status(metadata, Source(template=server.template), folder).report()
    assert "not asked for yet" in report
    assert list(folder.iterdir()) == []


def test_the_command_line(server, video, folder, capsys):
    server.files["/a.mp4"] = video
    metadata = write_metadata(folder, "a", "b", "c")
    server.answers["/c.mp4"] = [Answer(503)]
    flags = ["--dataset", "taichi", "--metadata", str(metadata), "--videos", str(folder / "new")]
    flags += ["--url-template", server.template, "--proxy", "", "--per-minute", "0", "--attempts", "1"]
    assert main(["download", *flags]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "  run the same command again for the videos that are left"
    assert "3/3" in shown.err
    assert "\r" not in shown.err
    assert main(["download", *flags]) == 0
    assert main(["download", *flags, "--status"]) == 0
    table = capsys.readouterr().out
    assert (
        table.count("all               3        1        2        0        6        2        4        0") == 2
    )
