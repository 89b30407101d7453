"""What probe says of videos, and of files that are none."""

from fractions import Fraction

import pytest
from PIL import Image

from pipelines.errors import VideoError
from pipelines.media.probe import probe, settle_rate
from tests.coded_video import FPS_25, FPS_2997, HEIGHT, VP9, WIDTH, run_ffmpeg, write_coded

FILM = Fraction(24000, 1001)


@pytest.mark.parametrize(
    ("average", "base", "expected"),
    [
        pytest.param(FPS_25, FPS_25, (FPS_25, True), id="constant"),
        pytest.param(FPS_2997, FPS_2997, (FPS_2997, True), id="ntsc"),
        pytest.param(Fraction(2997, 100), FPS_2997, (FPS_2997, True), id="averaged-over-a-dropped-frame"),
        pytest.param(Fraction(19001, 317), Fraction(19001, 317), (Fraction(60000, 1001), True), id="rounded"),
        pytest.param(FPS_25, Fraction(50), (FPS_25, True), id="field-rate"),
        pytest.param(FILM, Fraction(24), (FILM, False), id="film-is-not-24"),
        pytest.param(Fraction(2871, 100), Fraction(30), (Fraction(2871, 100), False), id="variable"),
        pytest.param(FPS_25, Fraction(90_000), (FPS_25, False), id="base-is-a-clock"),
        pytest.param(None, FPS_25, (FPS_25, True), id="no-average"),
        pytest.param(Fraction(0), None, None, id="no-rate"),
    ],
)
def test_settle_rate(average, base, expected):
    assert settle_rate(average, base) == expected


def test_a_video_is_described(tmp_path):
    info = probe(write_coded(tmp_path / "v.mp4", 20, FPS_2997, sound="aac"))
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert (info.fps, info.constant_rate, info.n_frames) == (FPS_2997, True, 20)
    assert info.duration_s == pytest.approx(20 * 1001 / 30000, abs=0.001)
    assert (info.has_audio, info.codec, info.rotation) == (True, "h264", 0)


def test_a_container_may_state_no_frame_count(tmp_path):
    info = probe(write_coded(tmp_path / "v.webm", 20, FPS_25, VP9))
    assert (info.fps, info.constant_rate, info.n_frames, info.has_audio) == (FPS_25, True, None, False)


def test_size_is_that_of_the_picture_as_shown(tmp_path):
    upright = write_coded(tmp_path / "v.mp4", 5, FPS_25)
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", upright, "-c", "copy", turned)
    info = probe(turned)
    assert (info.width, info.height, info.rotation) == (HEIGHT, WIDTH, 90)


def test_a_picture_that_starts_after_the_sound(tmp_path):
    video, late = write_coded(tmp_path / "v.mkv", 20, FPS_25), tmp_path / "late.mkv"
    sine = ("-f", "lavfi", "-i", "sine=d=3")
    run_ffmpeg(*sine, "-itsoffset", "1.2", "-i", video, "-map", "1:v", "-map", "0:a", "-c:v", "copy", late)
    info = probe(late)
    assert float(info.start_s - info.container_start_s) == pytest.approx(1.2, abs=0.01)


def test_a_cover_picture_is_not_the_video(tmp_path):
    song, cover, tagged = tmp_path / "s.m4a", tmp_path / "c.jpg", tmp_path / "tagged.m4a"
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", song)
    Image.new("RGB", (16, 16)).save(cover)
    run_ffmpeg(
        "-i",
        song,
        "-i",
        cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v",
        "attached_pic",
        tagged,
    )
    with pytest.raises(VideoError, match="holds no video stream") as error:
        probe(tagged)
    assert error.value.reason == "no_video_stream"


def _garbage(path):
    path.write_bytes(bytes(range(256)) * 64)


def _truncated(path):
    write_coded(path, 20, FPS_25)
    path.write_bytes(path.read_bytes()[:-2000])


def _playlist(path):
    write_coded(path.with_name("real.mp4"), 3, FPS_25)
    path.write_text("ffconcat version 1.0\nfile real.mp4\n")


def _hls(path):
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda path: None, "missing_video", id="missing"),
        pytest.param(lambda path: path.touch(), "empty_file", id="empty"),
        pytest.param(lambda path: path.mkdir(), "unreadable", id="folder"),
        pytest.param(lambda path: path.write_text("not a video\n" * 100), "unreadable", id="text"),
        pytest.param(_garbage, "unreadable", id="garbage"),
        pytest.param(_truncated, "unreadable", id="truncated"),
        pytest.param(_playlist, "unreadable", id="concat"),
        pytest.param(_hls, "unreadable", id="playlist"),
        pytest.param(lambda path: Image.new("RGB", (8, 8)).save(path, "PNG"), "still_image", id="png"),
        pytest.param(lambda path: Image.new("RGB", (8, 8)).save(path, "JPEG"), "still_image", id="jpeg"),
        pytest.param(
            lambda path: run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-f", "mp4", path),
            "no_video_stream",
            id="sound",
        ),
    ],
)
def test_what_is_no_video_is_named_with_its_reason(tmp_path, make, reason):
    path = tmp_path / "video.mp4"
    make(path)
    with pytest.raises(VideoError) as error:
        probe(path)
    assert error.value.reason == reason
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_text_is_no_video_whatever_its_name(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader,\n" * 50)
    with pytest.raises(VideoError, match="not a video"):
        probe(path)
