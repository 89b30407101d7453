"""How long a whole video file is, in every container, whole or torn."""

from fractions import Fraction

import pytest

from pipelines.corpus import clip_length
from pipelines.corpus.clip_length import measure
from pipelines.errors import VideoError
from pipelines.media.probe import probe
from tests.coded_video import (
    FPS_25,
    FPS_30,
    FPS_2997,
    H264,
    HEVC,
    MPEG4,
    VP9,
    decode,
    run_ffmpeg,
    write_coded,
)

FRAMES = 60


@pytest.mark.parametrize(
    ("name", "rate", "encoder", "sound"),
    [
        pytest.param("v.mp4", FPS_25, H264, "aac", id="mp4-longer-sound"),
        pytest.param("v.mp4", FPS_30, HEVC, "", id="mp4-hevc"),
        pytest.param("v.mkv", FPS_2997, H264, "aac", id="mkv-longer-sound"),
        pytest.param("v.webm", FPS_2997, VP9, "", id="webm"),
        pytest.param("v.ts", FPS_25, H264, "mp2", id="ts"),
        pytest.param("v.avi", FPS_25, MPEG4, "mp3", id="avi"),
        pytest.param("v.h264", FPS_25, H264, "", id="no-timestamps"),
    ],
)
def test_a_sound_file_has_all_its_frames(tmp_path, name, rate, encoder, sound):
    whole = measure(write_coded(tmp_path / name, FRAMES, rate, encoder, sound))
    assert (whole.frames, whole.info.fps) == (FRAMES, rate)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi"])
def test_a_torn_file_is_as_long_as_it_was(tmp_path, name):
    whole = write_coded(tmp_path / f"whole-{name}", FRAMES, FPS_25, ("-c:v", "mjpeg"))
    fast_start = ("-movflags", "faststart") if name.endswith("mp4") else ()
    run_ffmpeg("-i", whole, "-c", "copy", *fast_start, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert abs(measure(tmp_path / name).frames - FRAMES) <= 1


def test_a_length_that_the_file_could_never_hold_is_not_believed(tmp_path):
    path = write_coded(tmp_path / "v.mkv", FRAMES, FPS_25)
    sound, stated = path.read_bytes(), b"00:00:02.400000000"
    assert sound.count(stated) == 1
    path.write_bytes(sound.replace(stated, b"9999:00:00.0000000"))
    assert measure(path).frames == FRAMES


def test_what_an_edit_list_hides_does_not_count(tmp_path):
    write_coded(tmp_path / "whole.mp4", FRAMES, FPS_25)
    run_ffmpeg("-ss", "0.6", "-i", tmp_path / "whole.mp4", "-t", "1", "-c", "copy", tmp_path / "cut.mp4")
    whole, shown = measure(tmp_path / "cut.mp4"), len(decode(tmp_path / "cut.mp4")[0])
    # The cut may lose a frame next to the last; prepare lets a clip lack one.
    assert shown <= whole.frames <= shown + 1 < whole.info.n_frames


def test_a_variable_rate_is_measured_by_time(tmp_path):
    write_coded(tmp_path / "even.mp4", FRAMES, FPS_25)
    thinned = ("-vf", "select='not(between(n,10,19))'", "-fps_mode", "vfr")
    run_ffmpeg("-i", tmp_path / "even.mp4", *thinned, *H264, tmp_path / "uneven.mp4")
    whole = measure(tmp_path / "uneven.mp4")
    assert not whole.info.constant_rate
    assert whole.frames / whole.info.fps == pytest.approx(FRAMES / 25, abs=float(1 / whole.info.fps))


def test_a_single_frame_is_one(tmp_path):
    assert measure(write_coded(tmp_path / "v.mp4", 1, Fraction(25))).frames == 1


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    with pytest.raises(VideoError) as refused:
        measure(tmp_path / "text.mp4")
    assert refused.value.reason == "unreadable"


def test_a_file_that_goes_away_meanwhile_is_unreadable(tmp_path, monkeypatch):
    path = write_coded(tmp_path / "v.mp4", 5, FPS_25)

    def probe_and_remove(video):
        info = probe(video)
        video.unlink()
        return info

    monkeypatch.setattr(clip_length, "probe", probe_and_remove)
    with pytest.raises(VideoError, match="cannot be read any more"):
        measure(path)
