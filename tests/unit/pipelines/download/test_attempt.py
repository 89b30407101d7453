"""One attempt, with the real yt-dlp against a real server."""

import fcntl
import os
import resource
from contextlib import contextmanager

import pytest

from pipelines.corpus.metadata import index_videos
from pipelines.download.attempt import WORK_FOLDER, Fetched, VideoAttempt
from pipelines.download.config import DownloadConfig
from pipelines.download.reasons import Refused
from pipelines.download.source import Source
from pipelines.errors import StorageError
from tests.coded_video import FPS_25, run_ffmpeg, write_coded
from tests.video_server import Answer

# For those connections that yt-dlp leaves open; see the fixture.
pytestmark = [
    pytest.mark.usefixtures("left_open"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HTML = Answer(body=b"<html><title>Sorry</title></html>", headers=(("Content-Type", "text/html"),))
CUT = 5000


@pytest.fixture
def attempt(server, tmp_path):
    return VideoAttempt(tmp_path, Source(template=server.template, proxy=""), DownloadConfig())


def test_a_video_appears_under_its_id(server, video, attempt, tmp_path):
    server.files["/a.mp4"] = video
    assert attempt.run("a") == Fetched("a.mp4", len(video))
    assert (tmp_path / "a.mp4").read_bytes() == video
    assert list((tmp_path / WORK_FOLDER).iterdir()) == []


def test_a_cut_connection_is_resumed_by_range(server, video, attempt, tmp_path):
    server.files["/a.mp4"] = video
    server.answers["/a.mp4"] = [Answer(), Answer(cut_at=CUT)]
    refused = attempt.run("a")
    assert isinstance(refused, Refused)
    assert refused.reason == "connection"
    assert index_videos(tmp_path) == {}
    (half,) = (tmp_path / WORK_FOLDER).glob("*/*.part")
    size = half.stat().st_size
    assert 0 < size <= CUT
    assert half.read_bytes() == video[:size]
    assert attempt.run("a") == Fetched("a.mp4", len(video))
    assert server.asked("/a.mp4")[-1].range == f"bytes={size}-"
    assert (tmp_path / "a.mp4").read_bytes() == video


def test_half_of_one_address_is_not_continued_from_another(server, video, attempt, tmp_path):
    server.files = {"/a.mp4": video, "/b/a.mp4": b"another file"}
    server.answers["/b/a.mp4"] = [Answer(body=bytes(9000)), Answer(body=bytes(9000), cut_at=CUT)]
    elsewhere = Source(template=server.template.replace("{", "b/{"), proxy="")
    assert isinstance(VideoAttempt(tmp_path, elsewhere, DownloadConfig()).run("a"), Refused)
    assert attempt.run("a") == Fetched("a.mp4", len(video))
    assert (tmp_path / "a.mp4").read_bytes() == video


@pytest.mark.parametrize(
    ("answers", "reason", "words"),
    [
        pytest.param([Answer(404)], "not_found", "HTTP Error 404: Not Found", id="404"),
        pytest.param([Answer(410)], "not_found", "HTTP Error 410", id="410"),
        pytest.param([Answer(403)], "refused", "HTTP Error 403", id="403"),
        pytest.param([Answer(401)], "login_required", "HTTP Error 401", id="401"),
        pytest.param([Answer(429)], "rate_limited", "HTTP Error 429", id="429"),
        pytest.param([Answer(503)], "server_error", "HTTP Error 503", id="503"),
        pytest.param([Answer(), Answer(404)], "not_found", "HTTP Error 404", id="404-on-data"),
        pytest.param([Answer(), Answer(500)], "server_error", "HTTP Error 500", id="500-on-data"),
        pytest.param([Answer(), Answer(429)], "rate_limited", "HTTP Error 429", id="429-on-data"),
        pytest.param([HTML], "not_a_video", "Unsupported URL", id="a-page"),
        pytest.param([Answer(body=b"")] * 2, "not_a_video", "did not get any data", id="nothing"),
        pytest.param([Answer(body=b"\0" * 9000)] * 2, "damaged", "not a video", id="rubbish"),
    ],
)
def test_failures_have_reasons_and_words(server, video, attempt, tmp_path, answers, reason, words):
    server.files["/a.mp4"] = video
    server.answers["/a.mp4"] = list(answers)
    refused = attempt.run("a")
    assert refused.reason == reason
    assert words.lower() in refused.message.lower()
    assert "\n" not in refused.message
    assert index_videos(tmp_path) == {}


def test_retry_after_is_heard(server, attempt):
    server.answers["/a.mp4"] = [
        Answer(429, (("Retry-After", "17"),)),
        Answer(429, (("Retry-After", "soon"),)),
    ]
    assert [attempt.run("a").retry_after_s for _ in range(2)] == [17, 0]


def test_nobody_there_is_a_matter_of_the_connection(attempt, tmp_path):
    nobody = Source(template="http://me:secret@127.0.0.1:1/{video_id}", proxy="")
    refused = VideoAttempt(tmp_path, nobody, DownloadConfig()).run("a")
    assert refused.reason == "connection"
    assert "secret" not in refused.message


def test_sound_alone_is_not_a_video(server, attempt, tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "sound.m4a")
    server.files["/a.mp4"] = (tmp_path / "sound.m4a").read_bytes()
    assert attempt.run("a").reason == "not_a_video"


def test_an_address_without_ending_gets_one_by_its_content(server, tmp_path):
    server.files["/a"] = write_coded(tmp_path / "v.mkv", 30, FPS_25).read_bytes()
    server.answers["/a"] = [Answer(headers=(("Content-Type", "application/octet-stream"),))] * 2
    template = server.template.removesuffix(".mp4")
    assert (
        VideoAttempt(tmp_path, Source(template=template, proxy=""), DownloadConfig()).run("a").file == "a.mkv"
    )


@pytest.mark.parametrize(
    "video_id", ["$HOME", "~", "$HOME~", "%(id)s", "%%", "-rf", "a b", "a?b=c#d", "é", "*", "x" * 200]
)
def test_odd_ids_stay_what_they_are(server, video, tmp_path, video_id):
    folder = tmp_path / "$HOME %(id)s ~"
    folder.mkdir()
    server.files[f"/{video_id}.mp4"] = video
    attempt = VideoAttempt(folder, Source(template=server.template, proxy=""), DownloadConfig())
    assert attempt.run(video_id) == Fetched(f"{video_id}.mp4", len(video))
    assert {path.name for path in folder.iterdir()} == {f"{video_id}.mp4", WORK_FOLDER}
    assert list((folder / WORK_FOLDER).iterdir()) == []
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("video_id", ["", "../a", "a/b", "..", "a.b", "\\a", "a\nb", "a\0", "x" * 201])
def test_hostile_ids_are_refused_before_anything(server, attempt, tmp_path, video_id):
    with pytest.raises(ValueError, match="video_id"):
        attempt.run(video_id)
    assert list(tmp_path.iterdir()) == []
    assert server.requests == []


def test_a_machine_without_the_folder_makes_none(server, video, tmp_path):
    server.files["/a.mp4"] = video
    elsewhere = tmp_path / "mount" / "videos"
    attempt = VideoAttempt(elsewhere, Source(template=server.template, proxy=""), DownloadConfig())
    with pytest.raises(StorageError, match=r"videos: not there on .*the same path"):
        attempt.run("a")
    assert list(tmp_path.iterdir()) == []
    assert server.requests == []


def test_two_processes_do_not_write_to_one_video(server, video, attempt, tmp_path):
    server.files["/a.mp4"] = video
    server.answers["/a.mp4"] = [Answer(), Answer(cut_at=CUT)]
    attempt.run("a")
    (folder,) = (tmp_path / WORK_FOLDER).iterdir()
    handle = os.open(folder / "lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert attempt.run("a").reason == "in_use"
    os.close(handle)
    assert attempt.run("a") == Fetched("a.mp4", len(video))


@contextmanager
def file_size_limit(size: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_is_not_blamed_on_the_video(server, attempt, tmp_path):
    server.files["/a.mp4"] = bytes(4_000_000)
    with (
        file_size_limit(2_000_000),
        pytest.raises(StorageError, match=r"cannot be written to \(File too large\)"),
    ):
        attempt.run("a")


def test_cookies_go_with_the_request_and_no_file_is_written(server, video, tmp_path):
    server.files["/a.mp4"] = video
    cookies = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tabc\n"
    VideoAttempt(tmp_path, Source(template=server.template, proxy="", cookies=cookies), DownloadConfig()).run(
        "a"
    )
    assert {request.cookie for request in server.requests} == {"session=abc"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", WORK_FOLDER}


def test_the_proxy_is_asked(server, video, tmp_path):
    server.files["http://mirror.invalid/a.mp4"] = video
    source = Source(template="http://mirror.invalid/{video_id}.mp4", proxy=f"http://127.0.0.1:{server.port}")
    assert VideoAttempt(tmp_path, source, DownloadConfig()).run("a") == Fetched("a.mp4", len(video))
