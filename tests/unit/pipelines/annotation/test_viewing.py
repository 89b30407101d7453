"""A pass over one video, with a detector that finds bright squares."""

import subprocess
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.regions import Region
from pipelines.annotation.tracks import Track
from pipelines.annotation.video_task import RawVideo, annotate_video, choose_clips
from pipelines.annotation.viewing import watch
from pipelines.media.ffmpeg_binary import ffmpeg_binary
from tests.bright_squares import BLUE, GREEN, BrightSquareDetector, still, write_scenes

CONFIG = AnnotateConfig(min_frames=8, min_px=40, batch=4)


class Sender:
    """Hands frames to the detector at once, and remembers what was asked."""

    def __init__(self) -> None:
        self.batches = []

    def __call__(self, frames_NHW3):
        self.batches.append(frames_NHW3.shape)
        found = BrightSquareDetector()(frames_NHW3)
        return lambda: found


def see(path, config=CONFIG, utterances=None):
    return watch(path, config, utterances, Sender(), lambda frames: None)


def spans(seen) -> list[tuple[int, int]]:
    return sorted((track.start, track.end) for _, track in seen.tracks)


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory):
    """One square for 30 frames, then a cut, then two for 21."""
    scenes = [(BLUE, 30, still((100, 60, 80))), (GREEN, 21, still((20, 60, 80), (200, 100, 60)))]
    return write_scenes(tmp_path_factory.mktemp("video") / "v.mp4", scenes)


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_tracks_end_at_the_cut_whatever_the_batch(two_scenes, batch):
    seen = see(two_scenes, replace(CONFIG, batch=batch))
    assert (seen.frames, seen.shots, seen.size, seen.fps) == (51, 2, (320, 240), 25)
    assert spans(seen) == [(0, 30), (30, 51), (30, 51)]


def test_looking_rarely_ends_with_the_last_look(two_scenes):
    sender = Sender()
    seen = watch(two_scenes, replace(CONFIG, detect_every=5), None, sender, lambda frames: None)
    assert spans(seen) == [(0, 26), (30, 51), (30, 51)]
    assert sum(shape[0] for shape in sender.batches) == 6 + 5


def test_boxes_are_in_the_videos_own_pixels(tmp_path):
    path = write_scenes(tmp_path / "v.mp4", [(BLUE, 10, still((240, 160, 320)))], size=(1280, 960))
    sender = Sender()
    ((_, track),) = watch(path, CONFIG, None, sender, lambda frames: None).tracks
    assert sender.batches[0] == (4, 480, 640, 3)
    assert np.allclose(
        [track.region.left, track.region.top, track.region.right, track.region.bottom],
        [240, 160, 560, 480],
        atol=3,
    )


def test_frames_a_recorder_dropped_keep_their_numbers(tmp_path, two_scenes):
    path = tmp_path / "gaps.mkv"
    drop = "select='not(between(n,10,14))'"
    command = [
        ffmpeg_binary(),
        "-v",
        "error",
        "-i",
        str(two_scenes),
        "-vf",
        drop,
        "-fps_mode",
        "vfr",
        "-r",
        "25",
    ]
    subprocess.run([*command[:-2], str(path)], check=True)
    seen = see(path)
    assert seen.frames == 46
    assert (0, 30) in spans(seen)


def test_progress_tells_every_frame(two_scenes):
    told = []
    watch(two_scenes, CONFIG, None, Sender(), told.append)
    assert sum(told) == 51


def utterance_file(folder, person, frames, box):
    path = folder / person / "v" / "00001.txt"
    path.parent.mkdir(parents=True)
    rows = [f"{frame:06d} \t" + " \t".join(f"{share:.3f}" for share in box) for frame in frames]
    path.write_text(f"Identity  : \t{person}\nReference : \tv\n\nFRAME \tX \tY \tW \tH \n" + "\n".join(rows))
    return path


def test_only_the_annotated_people_are_followed(two_scenes, tmp_path):
    left = utterance_file(tmp_path, "ann", range(32, 45), (0.0, 0.2, 0.4, 0.5))
    right = utterance_file(tmp_path, "bob", range(28, 48), (0.6, 0.4, 0.3, 0.3))
    sender = Sender()
    record = annotate_video(
        RawVideo(video_id="v", path=two_scenes, utterances=(left, right)), CONFIG, sender, lambda frames: None
    )
    assert [(clip.subject, clip.start, clip.end) for clip in record.clips] == [
        ("ann", 32, 45),
        ("bob", 30, 48),
    ]
    assert record.clips[0].right < 160 < record.clips[1].left
    assert sum(shape[0] for shape in sender.batches) == 20  # frames without annotation are not looked at


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("v", b"", "empty_file"),
        ("v", b"not a video" * 99, "unreadable"),
        ("v.1", b"", "unusable_name"),
        ("v" * 195, b"", "unusable_name"),
        ("absent", None, "missing_video"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path, name, content, reason):
    path = tmp_path / f"{name}.mp4"
    if content is not None:
        path.write_bytes(content)
    record = annotate_video(RawVideo(video_id=name, path=path), CONFIG, Sender(), lambda frames: None)
    assert record.failure.reason == reason
    assert name in record.failure.message


def test_a_video_that_breaks_off_fails(tmp_path, two_scenes):
    path = tmp_path / "v.mp4"
    path.write_bytes(two_scenes.read_bytes()[:-600])
    record = annotate_video(RawVideo(video_id="v", path=path), CONFIG, Sender(), lambda frames: None)
    assert record.failure.reason == "unreadable"
    assert (record.clips, record.tracks) == ((), 0)


def test_utterances_that_are_missing_or_malformed_fail_the_video(tmp_path, two_scenes):
    video = RawVideo(video_id="v", path=two_scenes, utterances=())
    assert annotate_video(video, CONFIG, Sender(), print).failure.reason == "no_utterances"
    bad = tmp_path / "bad.txt"
    bad.write_text("nonsense\n")
    record = annotate_video(replace(video, utterances=(bad,)), CONFIG, Sender(), print)
    assert record.failure.reason == "bad_utterance"
    assert f"{bad}: line 1:" in record.failure.message


def track(start, end, left=10.0, side=100.0) -> tuple[str, Track]:
    return "", Track(start, end, Region(left, 10, left + side, 10 + side))


def test_choice_of_clips():
    tracks = [
        track(0, 7),
        track(0, 8),
        track(0, 20, side=39),
        track(0, 20, left=2),
        track(30, 60),
        track(30, 60, left=20),
        track(30, 60, left=30),
        track(70, 78),
        track(70, 78, left=30),
    ]
    clips, dropped = choose_clips(tracks, (320, 240), CONFIG)
    assert [(clip.start, clip.end) for clip in clips] == [(0, 8), (30, 58), (30, 59), (30, 60), (70, 78)]
    assert dropped == {"too_short": 1, "too_small": 1, "outside_frame": 1, "same_frames": 1}


def test_choice_does_not_depend_on_the_order_of_tracks():
    tracks = [track(30, 60), track(30, 60, left=20), track(0, 9)]
    assert choose_clips(tracks, (320, 240), CONFIG) == choose_clips(tracks[::-1], (320, 240), CONFIG)


def test_time_and_rate_of_film(tmp_path):
    fps = Fraction(24000, 1001)
    seen = see(write_scenes(tmp_path / "v.mp4", [(BLUE, 30, still((100, 60, 80)))], fps))
    assert (seen.fps, spans(seen)) == (fps, [(0, 30)])
