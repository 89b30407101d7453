"""Videos in and out, on media of a second or less that each test makes."""

import os
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from pipelines.errors import InputError, VideoError
from pipelines.media import video
from pipelines.media.video import decode_frames, encode_video, read_info, write_video

HEIGHT, WIDTH = 48, 64
TONE_HZ = 440
FLAT_COLOURS = [
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 60, 90),
]  # fmt: skip


def gradients(count: int, height: int = HEIGHT, width: int = WIDTH) -> Iterator[np.ndarray]:
    """Frames that differ along x (red), y (green) and time (blue)."""
    y, x = np.mgrid[0:height, 0:width]
    for number in range(count):
        blue = np.full_like(x, number * 255 // max(1, count - 1))
        yield np.stack([x * 255 // width, y * 255 // height, blue], axis=-1).astype(np.uint8)


def ffmpeg(*arguments: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def with_tone(folder: Path, name: str, *codecs: str, seconds: float = 1.0, delay: float = 0.0) -> Path:
    """A second of 25 fps video with a sine tone, in the container that the name says."""
    picture = folder / "silent.mp4"
    write_video(picture, gradients(25), 25)
    tone = f"sine=frequency={TONE_HZ}:sample_rate=44100:duration={seconds}"
    ffmpeg("-i", picture, "-itsoffset", delay, "-f", "lavfi", "-i", tone, *codecs, folder / name)
    return folder / name


def sound_of(path: Path) -> tuple[str, np.ndarray, float]:
    """Codec, mono samples at 44.1 kHz, and the second at which they begin."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=44100)
        frames = [out for frame in container.decode(stream) for out in resampler.resample(frame)]
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in frames])
        return stream.codec_context.codec.canonical_name, samples, float(frames[0].pts * frames[0].time_base)


def loudest_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * 44100 / len(samples))


def mean_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found.astype(float) - expected).mean())


@pytest.mark.parametrize(
    "fps", [25, Fraction(30000, 1001), Fraction(24000, 1001), Fraction(1579, 100), Fraction(1, 2), 240]
)
def test_frame_rate_and_count_are_kept_exactly(tmp_path, fps):
    assert write_video(tmp_path / "out.mp4", gradients(7), fps) == 7
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames) == (fps, 7)
        shown_at = [frame.pts * frame.time_base for frame in container.decode(stream)]
    assert shown_at == [number / Fraction(fps) for number in range(7)]
    assert read_info(tmp_path / "out.mp4").fps == fps


def test_colours_survive_and_are_labelled(tmp_path):
    flat = [np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for colour in FLAT_COLOURS]
    write_video(tmp_path / "out.mp4", flat, 25)
    for found, expected in zip(decode_frames(tmp_path / "out.mp4"), flat, strict=True):
        assert np.abs(found.astype(int) - expected).max() <= 2
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        labels = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
        assert labels == (1, 1, 1, 1)  # BT.709 throughout, limited range
        assert frame.to_ndarray()[0, 0] == 63  # red's luma by BT.709; BT.601 would give 81


def test_colours_agree_with_the_ffmpeg_program(tmp_path):
    write_video(tmp_path / "out.mp4", gradients(3), 25)
    ffmpeg("-i", tmp_path / "out.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", tmp_path / "raw")
    reference = np.fromfile(tmp_path / "raw", np.uint8).reshape(3, HEIGHT, WIDTH, 3)
    # The program's default conversion is the inexact one.
    assert mean_error(np.stack(list(decode_frames(tmp_path / "out.mp4"))), reference) < 2


def test_unlabelled_video_decodes_as_ffmpeg_does(tmp_path):
    ffmpeg(
        "-f", "lavfi", "-i", "color=red:size=64x48:duration=0.2", "-pix_fmt", "yuv420p", tmp_path / "u.mp4"
    )
    ffmpeg("-i", tmp_path / "u.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", tmp_path / "raw")
    reference = np.fromfile(tmp_path / "raw", np.uint8)[:3]
    assert np.abs(next(decode_frames(tmp_path / "u.mp4"))[10, 10].astype(int) - reference).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(47, 63), (48, 63), (1, 1)])
def test_odd_sizes_gain_a_repeated_row_or_column(tmp_path, height, width):
    frames = list(gradients(4, height, width))
    write_video(tmp_path / "out.mp4", frames, 25)
    found = next(decode_frames(tmp_path / "out.mp4"))
    assert found.shape == (height + height % 2, width + width % 2, 3)
    assert mean_error(found[:height, :width], frames[0]) < 5


def test_the_index_comes_first(tmp_path):
    write_video(tmp_path / "out.mp4", gradients(4), 25)
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_bytes_in_and_out(tmp_path):
    sounding = with_tone(tmp_path, "in.mp4", "-c:v", "copy").read_bytes()
    data = encode_video(decode_frames(sounding), read_info(sounding).fps, audio_from=sounding)
    (tmp_path / "out.mp4").write_bytes(data)
    assert len(list(decode_frames(data))) == 25
    assert sound_of(tmp_path / "out.mp4")[0] == "aac"


@pytest.mark.parametrize(
    ("name", "codecs", "expected"),
    [
        pytest.param("in.mp4", ("-c:a", "aac"), "aac", id="aac-copied"),
        pytest.param("in.mp4", ("-c:a", "libmp3lame"), "mp3", id="mp3-copied"),
        pytest.param("in.mkv", ("-c:a", "ac3"), "ac3", id="ac3-copied"),
        pytest.param("in.ts", ("-c:a", "aac"), "aac", id="adts-aac-copied"),
        pytest.param("in.mkv", ("-c:a", "libopus"), "aac", id="opus-to-aac"),
        pytest.param("in.webm", ("-c:v", "libvpx", "-c:a", "libvorbis"), "aac", id="vorbis-to-aac"),
        pytest.param("in.avi", ("-c:v", "mpeg4", "-c:a", "pcm_s16le"), "aac", id="pcm-to-aac"),
        pytest.param("in.avi", ("-c:v", "mpeg4", "-c:a", "libmp3lame"), "mp3", id="mp3-in-avi"),
        pytest.param("in.avi", ("-c:v", "mpeg4", "-c:a", "mp2"), "aac", id="mp2-in-avi-to-aac"),
        pytest.param("in.mov", ("-c:a", "pcm_u8", "-ar", "7000", "-ac", "1"), "aac", id="odd-rate"),
    ],
)
def test_sound_is_kept(tmp_path, name, codecs, expected):
    source = with_tone(tmp_path, name, *codecs)
    write_video(tmp_path / "out.mp4", gradients(25), 25, audio_from=source)
    codec, samples, start = sound_of(tmp_path / "out.mp4")
    assert codec == expected
    assert loudest_hz(samples[4410:-4410]) == pytest.approx(TONE_HZ, abs=3)
    # Codecs delay by a frame or two of 1,024 or 1,152 samples.
    assert len(samples) / 44100 == pytest.approx(1.0, abs=0.1)
    assert start == pytest.approx(0.0, abs=0.06)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_stays_in_time_with_the_picture(tmp_path, codec):
    source = with_tone(tmp_path, "in.mov", "-c:v", "copy", "-c:a", codec, seconds=0.6, delay=0.4)
    write_video(tmp_path / "out.mp4", gradients(25), 25, audio_from=source)
    _, samples, start = sound_of(tmp_path / "out.mp4")
    onset = start + np.flatnonzero(np.abs(samples) > 0.02)[0] / 44100
    assert onset == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_is_cut_to_the_picture(tmp_path, codec):
    source = with_tone(tmp_path, "in.mov", "-c:v", "copy", "-c:a", codec)
    write_video(tmp_path / "out.mp4", gradients(10), 25, audio_from=source)
    assert len(sound_of(tmp_path / "out.mp4")[1]) / 44100 == pytest.approx(0.4, abs=0.05)


def test_a_silent_video_gives_a_silent_video(tmp_path):
    write_video(tmp_path / "silent.mp4", gradients(3), 25)
    write_video(tmp_path / "out.mp4", gradients(3), 25, audio_from=tmp_path / "silent.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_sizes_and_fits(tmp_path):
    frames = list(gradients(2))
    write_video(tmp_path / "in.mp4", frames, 25)
    cut = next(decode_frames(tmp_path / "in.mp4", size=HEIGHT))
    assert mean_error(cut, frames[0][:, 8:56]) < 4
    stretched = next(decode_frames(tmp_path / "in.mp4", size=32, fit="stretch"))
    expected = np.asarray(Image.fromarray(frames[0]).resize((32, 32), Image.Resampling.BICUBIC))
    assert mean_error(stretched, expected) < 4
    assert stretched.flags.c_contiguous
    with pytest.raises(ValueError, match="fit must be"):
        next(decode_frames(tmp_path / "in.mp4", size=32, fit="pad"))


def test_limit(tmp_path):
    write_video(tmp_path / "in.mp4", gradients(9), 25)
    assert [len(list(decode_frames(tmp_path / "in.mp4", limit=n))) for n in (0, 1, 4, 99)] == [0, 1, 4, 9]


@pytest.mark.parametrize(("degrees", "quarter_turns"), [(90, 1), (180, 2), (-90, 3)])
def test_recorded_rotation_is_applied(tmp_path, degrees, quarter_turns):
    frames = list(gradients(2))
    write_video(tmp_path / "in.mp4", frames, 25)
    ffmpeg("-display_rotation", degrees, "-i", tmp_path / "in.mp4", "-c", "copy", tmp_path / "turned.mp4")
    found = next(decode_frames(tmp_path / "turned.mp4"))
    assert mean_error(found, np.rot90(frames[0], quarter_turns)) < 4


def test_oblong_pixels_are_made_square(tmp_path):
    write_video(tmp_path / "in.mp4", gradients(2), 25)
    ffmpeg("-i", tmp_path / "in.mp4", "-vf", "setsar=2", tmp_path / "wide.mp4")
    assert next(decode_frames(tmp_path / "wide.mp4")).shape == (HEIGHT, 2 * WIDTH, 3)
    cut = next(decode_frames(tmp_path / "wide.mp4", size=HEIGHT))
    assert mean_error(cut, np.repeat(next(gradients(1)), 2, axis=1)[:, 40:88]) < 6


def test_varying_frame_rate_keeps_every_frame(tmp_path):
    write_video(tmp_path / "in.mp4", gradients(20), 20)
    # The second half of the frames is shown at a quarter of the rate.
    ffmpeg(
        "-i", tmp_path / "in.mp4", "-vf", "setpts=if(lt(N\\,10)\\,N\\,10+4*(N-10))/20/TB",
        "-fps_mode", "vfr", tmp_path / "vfr.mp4",
    )  # fmt: skip
    assert len(list(decode_frames(tmp_path / "vfr.mp4"))) == 20
    info = read_info(tmp_path / "vfr.mp4")
    assert not info.constant_rate
    assert 5 < info.fps < 20


def broken(folder: Path, kind: str) -> Path:
    """A file that is no usable driving video."""
    path = folder / f"{kind}.mp4"
    write_video(folder / "good.mp4", gradients(60), 25)
    good = (folder / "good.mp4").read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is not a video\n" * 100)
    elif kind == "index-missing":
        path.write_bytes(good[: good.find(b"moov") - 4] + good[good.find(b"mdat") - 4 :])
    elif kind == "sound-only":
        ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", path)
    elif kind == "playlist":
        path.write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
        )
    elif kind == "list-of-files":
        path.write_text("ffconcat version 1.0\nfile good.mp4\n")
    elif kind == "folder":
        path.mkdir()
    elif kind in ("png", "jpeg", "webp", "gif", "avif"):
        Image.fromarray(next(gradients(1))).save(path, format=kind)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absent", "missing_video"),
        ("empty", "empty_file"),
        ("text", "unreadable"),
        ("index-missing", "unreadable"),
        ("sound-only", "no_video_stream"),
        ("playlist", "unreadable"),
        ("list-of-files", "unreadable"),
        ("folder", "unreadable"),
        ("png", "still_image"),
        ("jpeg", "still_image"),
        ("webp", "still_image"),
        ("gif", "still_image"),
        ("avif", "still_image"),
    ],
)
def test_unusable_driving_files_are_refused(tmp_path, kind, reason):
    path = broken(tmp_path, kind)
    with pytest.raises(VideoError, match=path.name) as caught:
        list(decode_frames(path))
    assert caught.value.reason == reason
    if path.is_file():
        with pytest.raises(VideoError, match=r"^<\d+ bytes>: ") as caught:
            list(decode_frames(path.read_bytes()))
        assert caught.value.reason == reason


def test_an_image_as_driving_video_says_what_is_needed(tmp_path):
    with pytest.raises(VideoError, match="is a still image; a driving video is needed"):
        next(decode_frames(broken(tmp_path, "png")))


def test_an_animated_gif_is_a_video(tmp_path):
    pictures = [Image.fromarray(frame) for frame in gradients(3)]
    pictures[0].save(tmp_path / "in.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert len(list(decode_frames(tmp_path / "in.gif"))) == 3


def test_a_file_that_breaks_off_names_the_frame_reached(tmp_path):
    write_video(tmp_path / "good.mp4", gradients(60), 25)
    good = (tmp_path / "good.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(good[: len(good) * 7 // 10])
    frames: list[np.ndarray] = []
    with pytest.raises(VideoError, match="cut off after frame") as caught:
        frames.extend(decode_frames(tmp_path / "cut.mp4"))
    reached = len(frames)
    assert 0 < reached < 60
    assert f"after frame {reached}." in str(caught.value)
    assert len(list(decode_frames(tmp_path / "cut.mp4", limit=reached))) == reached


def test_frames_that_are_too_large_are_refused(tmp_path, monkeypatch):
    write_video(tmp_path / "in.mp4", gradients(2), 25)
    monkeypatch.setattr("pipelines.media.images.MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(VideoError, match="64x48 pixels") as caught:
        next(decode_frames(tmp_path / "in.mp4"))
    assert caught.value.reason == "too_large"


def test_slow_decoding_is_stopped(tmp_path, monkeypatch):
    write_video(tmp_path / "in.mp4", gradients(2), 25)
    monkeypatch.setattr(video, "MAX_DECODE_S", 0.0)
    with pytest.raises(VideoError, match="decoding") as caught:
        list(decode_frames(tmp_path / "in.mp4"))
    assert caught.value.reason == "timed_out"


def test_a_failure_leaves_the_old_file(tmp_path):
    def failing() -> Iterator[np.ndarray]:
        yield from gradients(3)
        raise RuntimeError("model failed")

    (tmp_path / "out.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="model failed"):
        write_video(tmp_path / "out.mp4", failing(), 25)
    assert (tmp_path / "out.mp4").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_nothing_is_written_for_bad_input(tmp_path):
    with pytest.raises(InputError, match="no frames"):
        write_video(tmp_path / "out.mp4", [], 25)
    with pytest.raises(VideoError, match=r"absent\.mp4"):
        write_video(tmp_path / "out.mp4", gradients(2), 25, audio_from=tmp_path / "absent.mp4")
    with pytest.raises(ValueError, match="fps must be"):
        write_video(tmp_path / "out.mp4", gradients(2), 0)
    with pytest.raises(ValueError, match="frame 2 is"):
        write_video(tmp_path / "out.mp4", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], 25)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no such folder"):
        write_video(tmp_path / "sub" / "out.mp4", gradients(2), 25)


def test_results_get_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_video(tmp_path / "out.mp4", gradients(2), 25)
    assert (tmp_path / "out.mp4").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_same_frames_give_the_same_bytes():
    assert encode_video(gradients(5), 25) == encode_video(gradients(5), 25)
    assert next(decode_frames(encode_video(gradients(2), 25))).shape == (
        HEIGHT,
        WIDTH,
        3,
    )
