"""Folders of clips as clip tables: names, partitions, lengths, and what is refused."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.corpus.clip_length import measure
from pipelines.corpus.clip_table import MAX_NUMBER
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.decoder_process import Decoders
from pipelines.errors import InputError
from pipelines.preparation.clip_folders import read_clip_folder, read_frame_folders
from tests.coded_video import FPS_2997, HEIGHT, WIDTH, write_coded


def touch(folder: Path, *names: str) -> Path:
    """Empty files, which become clips that fail: names and partitions are all that matters."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def frames(folder: Path, count: int, suffix: str = "png") -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(folder / f"{number:07d}.{suffix}")
    return folder


def test_a_video_is_a_clip_of_all_its_frames_whole(tmp_path):
    write_coded(tmp_path / "id1#v#000010#000040.mp4", 30, FPS_2997)
    (clip,) = read_clip_folder(tmp_path).clips
    assert (clip.clip_id, clip.video_path) == ("id1#v#000010#000040", "id1#v#000010#000040.mp4")
    assert (clip.dataset, clip.subject_id, clip.partition) == ("clips", "id1", "train")
    assert (clip.start, clip.end, clip.fps) == (0, 30, float(FPS_2997))
    assert (clip.box.width, clip.box.height) == (clip.ref_width, clip.ref_height) == (WIDTH, HEIGHT)


def test_a_folder_of_images_is_a_clip_of_the_rate_given(tmp_path):
    frames(tmp_path / "id1#v", 7)
    (clip,) = read_frame_folders(tmp_path, 12.5).clips
    assert (clip.clip_id, clip.video_path, clip.dataset) == ("id1#v", "id1#v", "frames")
    assert (clip.start, clip.end, clip.fps) == (0, 7, 12.5)
    assert (clip.left, clip.top, clip.right, clip.bottom) == (0, 0, 30, 20)


@pytest.mark.parametrize(
    ("path", "clip_id", "subject"),
    [
        pytest.param("talk.mp4", "talk", "talk", id="flat"),
        pytest.param("id1#v#0#9.mkv", "id1#v#0#9", "id1", id="published"),
        pytest.param("id00012/21Uxsk56VDQ/00001.mp4", "id00012#21Uxsk56VDQ#00001", "id00012", id="voxceleb2"),
        pytest.param("batch 3/id1#v.mp4", "batch 3#id1#v", "id1", id="the-files-own-name-first"),
        pytest.param("#odd.mp4", "#odd", "#odd", id="nothing-before-the-sign"),
    ],
)
def test_names_come_from_paths(tmp_path, path, clip_id, subject):
    (clip,) = read_clip_folder(touch(tmp_path, path)).clips
    assert (clip.clip_id, clip.subject_id, clip.video_path) == (clip_id, subject, path)


def test_what_is_no_video_by_name_is_passed_over(tmp_path):
    touch(tmp_path, "a.mp4", "a.json", "README.txt", ".hidden.mp4", ".cache/b.mp4", "LICENSE", "b.mp4.part")
    assert [clip.clip_id for clip in read_clip_folder(tmp_path).clips] == ["a"]


def test_no_subject_is_in_both_partitions(tmp_path):
    touch(tmp_path, *(f"id{number % 20}#v{number}.mp4" for number in range(100)))
    metadata = read_clip_folder(tmp_path, 0.2)
    sides = {
        part: {c.subject_id for c in metadata.clips if c.partition == part} for part in ("train", "test")
    }
    assert len(sides["test"]) == 4
    assert not sides["train"] & sides["test"]
    assert read_clip_folder(tmp_path, 0.2) == metadata
    assert read_clip_folder(tmp_path, 0.4).sha256 != metadata.sha256


def test_a_log_gets_lines_about_the_listing(tmp_path, capsys):
    read_clip_folder(touch(tmp_path, "a.mp4", "b.mp4"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("list   0%: 0/2 clips")
    assert lines[-1].startswith("list 100%: 2/2 clips, 2 failed")


def test_whom_no_readable_clip_shows_is_nobody_to_test_on(tmp_path):
    sound = {f"s{number}" for number in range(2)}
    for name in sound:
        write_coded(tmp_path / f"{name}.mp4", 5, FPS_2997)
    touch(tmp_path, *(f"empty{number}.mp4" for number in range(12)))
    (tmp_path / "text.mp4").write_text("no video")
    clips = read_clip_folder(tmp_path, 0.3).clips
    assert [clip.subject_id in sound for clip in clips if clip.partition == "test"] == [True]
    assert len(clips) == 15


def test_train_and_test_folders_are_the_partition(tmp_path):
    touch(tmp_path, "train/id1#a.mp4", "train/deep/b.mp4", "test/id1#c.mp4")
    clips = {clip.clip_id: clip for clip in read_clip_folder(tmp_path).clips}
    assert {name: clip.partition for name, clip in clips.items()} == {
        "id1#a": "train",
        "deep#b": "train",
        "id1#c": "test",
    }
    assert clips["deep#b"].video_path == "train/deep/b.mp4"


def test_linked_folders_are_entered_once(tmp_path):
    touch(tmp_path / "elsewhere", "a.mp4")
    (tmp_path / "clips").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "clips" / "train")
    os.symlink(tmp_path / "clips", tmp_path / "elsewhere" / "loop")
    assert [clip.clip_id for clip in read_clip_folder(tmp_path / "clips").clips] == ["a"]


def test_what_cannot_be_read_is_a_clip_all_the_same(tmp_path):
    frames(tmp_path / "gap", 5)
    (tmp_path / "gap" / "0000002.png").unlink()
    (tmp_path / "empty").mkdir()
    frames(tmp_path / "sound", 3)
    ends = {clip.clip_id: clip.end for clip in read_frame_folders(tmp_path).clips}
    assert ends == {"empty": 1, "gap": 1, "sound": 3}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param(["my.clip.mp4"], ["my.clip.mp4", "dots", "Rename"], id="dots"),
        pytest.param(["a\nb.mp4"], ["control", "Rename"], id="control-characters"),
        pytest.param(["a.mp4", "a.mkv"], ["a.mkv", "a.mp4", "Rename"], id="one-name-twice"),
        pytest.param(["train/a.mp4", "test/a.mp4"], ["train/a.mp4", "test/a.mp4"], id="in-both"),
        pytest.param(["train/a.mp4", "b.mp4"], ["b.mp4", "train"], id="beside-the-partitions"),
        pytest.param(["notes.txt"], ["no video files"], id="nothing"),
    ],
)
def test_folders_that_are_refused(tmp_path, names, words):
    with pytest.raises(InputError) as refused:
        read_clip_folder(touch(tmp_path, *names))
    assert all(word in str(refused.value) for word in words)


def test_a_file_name_that_is_no_text_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"a\xff.mp4")).touch()
    with pytest.raises(InputError, match="Rename"):
        read_clip_folder(tmp_path)


def test_a_test_fraction_beside_partitions_is_refused(tmp_path):
    with pytest.raises(InputError, match="leave --test-fraction out"):
        read_clip_folder(touch(tmp_path, "train/a.mp4"), 0.1)


@pytest.mark.parametrize("fps", [0.0, 1e-6, -1.0, float("nan"), 1e6])
def test_a_rate_that_is_none_is_refused(tmp_path, fps):
    frames(tmp_path / "v", 1)
    with pytest.raises(InputError, match="--fps"):
        read_frame_folders(tmp_path, fps)


def test_frames_in_the_folder_itself_are_no_clips(tmp_path):
    with pytest.raises(InputError, match="no folders of numbered images"):
        read_frame_folders(frames(tmp_path / "v", 2))


def test_a_file_that_hangs_its_reader_is_a_clip_nevertheless(tmp_path):
    write_coded(tmp_path / "sound.mp4", 5, FPS_2997)
    path = write_coded(tmp_path / "hangs.mkv", 5, FPS_2997)
    # A Matroska header, and a terabyte of nothing in which libav looks for the next element.
    with path.open("r+b") as file:
        file.truncate(600)
        file.truncate(1 << 40)
    clips = read_clip_folder(tmp_path, limits=PrepareConfig(probe_seconds_limit=3.0)).clips
    assert [(clip.clip_id, clip.end) for clip in clips] == [("hangs", MAX_NUMBER), ("sound", 5)]


@pytest.mark.parametrize("frames", [10**12, 40])
def test_a_file_that_states_what_no_clip_has_is_left_to_fail(tmp_path, monkeypatch, frames):
    path = write_coded(tmp_path / "v.mp4", 5, FPS_2997)
    whole = replace(measure(path), frames=frames)
    monkeypatch.setattr(Decoders, "measure", lambda decoders, video: whole)
    (clip,) = read_clip_folder(tmp_path).clips
    assert clip.end == min(frames, MAX_NUMBER)


def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    hidden = touch(tmp_path, "a.mp4", "hidden/b.mp4") / "hidden"
    scandir = os.scandir

    def guarded(path):
        if Path(path) == hidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(hidden))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(InputError, match=f"{hidden}: cannot be read .Permission denied"):
        read_clip_folder(tmp_path)
