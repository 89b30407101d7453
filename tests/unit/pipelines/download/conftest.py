"""A real video, and a server on loopback to have it from."""

import gc

import pytest

from tests.coded_video import FPS_25, write_coded
from tests.video_server import video_server


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """The bytes of a small mp4."""
    return write_coded(tmp_path_factory.mktemp("video") / "v.mp4", 200, FPS_25).read_bytes()


@pytest.fixture
def server():
    with video_server() as running:
        yield running


@pytest.fixture(scope="module")
def left_open():
    """yt-dlp leaves the connections of failed requests to the garbage collector: make it come while we know why."""
    yield
    gc.collect()
