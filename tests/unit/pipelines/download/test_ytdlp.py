"""Streams of several qualities: which is taken, whether its sound is, and that none lacks a part."""

import pytest

from pipelines.download.config import DownloadConfig
from pipelines.download.reasons import Refused
from pipelines.download.source import Source
from pipelines.download.ytdlp import fetch
from pipelines.media.probe import probe
from tests.coded_video import run_ffmpeg
from tests.video_server import Answer

# For those connections that yt-dlp leaves open; see the fixture.
pytestmark = [
    pytest.mark.usefixtures("left_open"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HEIGHTS = (96, 160, 240)


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """The files of a DASH stream: three pictures and a sound, each in parts of a second."""
    folder = tmp_path_factory.mktemp("dash")
    sizes = [
        argument
        for number, height in enumerate(HEIGHTS)
        for argument in ("-map", "0:v", f"-s:v:{number}", f"{height * 2}x{height}")
    ]
    run_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=d=3:s=64x64:r=10", "-f", "lavfi", "-i", "sine=d=3"),
        *(*sizes, "-map", "1:a", "-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-c:a", "aac"),
        *("-f", "dash", "-seg_duration", "1", "-adaptation_sets", "id=0,streams=v id=1,streams=a"),
        folder / "a.mpd",
    )  # fmt: skip
    return {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}


def download(server, stream, folder, **settings):
    server.files = dict(stream)
    source = Source(template=server.template.replace(".mp4", ".mpd"), proxy="")
    server.answers["/a.mpd"] = [Answer(headers=(("Content-Type", "application/dash+xml"),))] * 2
    return fetch(source.url("a"), folder, source, DownloadConfig(**settings))


@pytest.mark.parametrize(
    ("limit", "height"), [(720, 240), (240, 240), (200, 160), (96, 96), pytest.param(32, 96, id="all-larger")]
)
def test_the_largest_picture_within_the_limit_is_taken(server, stream, tmp_path, limit, height):
    info = probe(download(server, stream, tmp_path, height=limit))
    assert (info.height, info.has_audio) == (height, False)


def test_sound_is_merged_in_on_request(server, stream, tmp_path):
    info = probe(download(server, stream, tmp_path, audio=True))
    assert (info.height, info.has_audio) == (240, True)


def test_a_stream_that_lacks_a_part_is_refused_but_not_dead(server, stream, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.download.ytdlp.FRAGMENT_RETRIES", 0)
    part = next(name for name in stream if name.startswith("/chunk-stream2-00002"))
    whole = {name: data for name, data in stream.items() if name != part}
    refused = download(server, whole, tmp_path)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.permanent) == ("refused", False)
    server.requests.clear()
    assert probe(download(server, stream, tmp_path)).n_frames == 30
    assert not server.asked("/chunk-stream2-00001.m4s"), "it goes on with the part that was missing"


@pytest.mark.parametrize(
    "error", [RuntimeError("odd page"), RecursionError("odd page"), ValueError("odd\npage")]
)
def test_whatever_a_page_makes_of_ytdlp_is_a_reason(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("yt_dlp.YoutubeDL.extract_info", fail)
    refused = fetch("https://mirror.invalid/a", tmp_path, Source(proxy=""), DownloadConfig())
    assert refused == Refused("other", f"{type(error).__name__}: odd page")


def test_a_page_of_several_videos_is_none(server, tmp_path):
    feed = "<rss version='2.0'><channel><title>t</title>{}</channel></rss>".format(
        "".join(f"<item><title>{name}</title><link>{server.template}</link></item>" for name in "ab")
    )
    server.answers["/a.mp4"] = [Answer(body=feed.encode(), headers=(("Content-Type", "text/xml"),))]
    url = Source(template=server.template).url("a")
    refused = fetch(url, tmp_path, Source(proxy=""), DownloadConfig())
    assert refused == Refused("not_a_video", f"{url}: a page of 2 videos, not a video")
    assert len(server.requests) == 1
