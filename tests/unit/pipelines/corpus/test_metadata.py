"""The published metadata formats, and everything that may be wrong with such a file."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.corpus.clip_table import write_clip_table
from pipelines.corpus.metadata import index_videos, parse_box, read_metadata
from pipelines.errors import InputError, MetadataError

SHARED = Path(__file__).parents[4].parent / "shared" / "data" / "metadata"
HEADER = "video_id,start,end,bbox,fps,width,height,partition,person_id"
GOOD = "WMh3ye5tBsE,3657,3994,624-48-1018-553,25,1280,720,train,id10005"


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def read(tmp_path, videos, *rows, dataset="vox", header=HEADER):
    path = tmp_path / "metadata.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return read_metadata(path, dataset, videos)


def test_a_vox_row_becomes_a_clip(tmp_path, videos):
    (videos / "WMh3ye5tBsE.webm").touch()
    (clip,) = read(tmp_path, videos, GOOD).clips
    assert clip.clip_id == "id10005#WMh3ye5tBsE#003657#003994"
    assert (clip.dataset, clip.video_id, clip.video_path) == ("vox", "WMh3ye5tBsE", "WMh3ye5tBsE.webm")
    assert (clip.start, clip.end, clip.fps) == (3657, 3994, 25.0)
    assert (clip.left, clip.top, clip.right, clip.bottom) == (624, 48, 1018, 553)
    assert (clip.ref_width, clip.ref_height, clip.partition, clip.subject_id) == (
        1280,
        720,
        "train",
        "id10005",
    )


def test_people_are_known_wherever_the_column_is(tmp_path, videos):
    row = "a,0,64,0-0-256-256,25,256,256,train,ann"
    (clip,) = read(tmp_path, videos, row, dataset="taichi").clips
    assert (clip.subject_id, clip.clip_id) == ("ann", "ann#a#000000#000064")


def test_columns_that_are_missing_come_with_a_remedy(tmp_path, videos):
    row = "a,0,64,0-0-256-256,25,256,256,train"
    with pytest.raises(
        MetadataError, match=r"missing columns person_id .*give --dataset taichi, ted or own\.$"
    ):
        read(tmp_path, videos, row, header=HEADER.removesuffix(",person_id"))


def test_taichi_rows_name_no_person(tmp_path, videos):
    row = "u6rJiF-gPx8,80,300,118-82-508-472,29.97,640,480,test"
    (clip,) = read(tmp_path, videos, row, dataset="taichi", header=HEADER.removesuffix(",person_id")).clips
    assert (clip.clip_id, clip.subject_id) == ("u6rJiF-gPx8#000080#000300", "")


def test_a_missing_video_is_no_error_of_the_metadata(tmp_path, videos):
    metadata = read(tmp_path, videos, GOOD)
    assert metadata.clips[0].video_path == ""
    assert metadata.missing_videos == 1


def test_repeated_rows_are_counted_and_left_out(tmp_path, videos):
    metadata = read(tmp_path, videos, GOOD, GOOD, GOOD.replace("3657", "3658"))
    assert (metadata.rows, len(metadata.clips), metadata.duplicates) == (3, 2, 1)


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
def test_a_clip_in_both_partitions_is_a_test_clip(tmp_path, videos, order):
    metadata = read(tmp_path, videos, *(GOOD.replace("train", partition) for partition in order))
    assert [clip.partition for clip in metadata.clips] == ["test"]
    assert metadata.duplicates == 1


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path, videos):
    path = tmp_path / "metadata.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n\r\n{GOOD}\r\n".encode())
    assert len(read_metadata(path, "vox", videos).clips) == 1


def changed(column: str, value: str) -> str:
    cells = dict(zip(HEADER.split(","), GOOD.split(","), strict=True))
    return ",".join((cells | {column: value}).values())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param(
            changed("bbox", "624-48-1018"), "bbox = '624-48-1018' is not left-top", id="box-of-three"
        ),
        pytest.param(changed("bbox", "a-b-c-d"), "bbox = 'a-b-c-d' is not", id="box-of-letters"),
        pytest.param(changed("bbox", "1.5-2-3-4"), "bbox = '1.5-2-3-4' is not", id="box-of-fractions"),
        pytest.param(changed("bbox", "-1-2-3-4"), "holds a negative number", id="negative-box"),
        pytest.param(changed("bbox", "1018-48-624-553"), "must have left < right", id="inverted-box"),
        pytest.param(changed("bbox", "624-48-624-553"), "must have left < right", id="empty-box"),
        pytest.param(changed("start", "3994"), "start = 3994 must be below end = 3994", id="empty-span"),
        pytest.param(changed("start", "5000"), "start = 5000 must be below end = 3994", id="inverted-span"),
        pytest.param(changed("start", "-5"), "start = -5 is negative", id="negative-start"),
        pytest.param(changed("start", "x"), "start = 'x' is not a number", id="text-start"),
        pytest.param(changed("end", "nan"), "end = 'nan' is not a finite number", id="nan-end"),
        pytest.param(changed("fps", "0"), "fps = 0.0 must be from 0.01", id="zero-fps"),
        pytest.param(changed("fps", "nan"), "fps = 'nan' is not a finite number", id="nan-fps"),
        pytest.param(changed("width", "0"), "reference frame 0x720", id="zero-width"),
        pytest.param(
            changed("partition", "valid"), "partition = 'valid' must be train or test", id="partition"
        ),
        pytest.param(changed("video_id", ""), "video_id is empty", id="empty-id"),
        pytest.param(changed("video_id", "a/b"), "no slashes", id="slash"),
        pytest.param(changed("video_id", "..\\b"), "no slashes", id="backslash"),
        pytest.param(changed("video_id", ".."), "no dots", id="dots"),
        pytest.param(changed("video_id", "a\0b"), "control characters", id="nul"),
        pytest.param(changed("person_id", "../x"), "person_id = '../x'", id="person"),
        pytest.param(changed("person_id", ""), "person_id is empty", id="no-person"),
        pytest.param(GOOD + ",more", "10 cells where the header has 9", id="too-many-cells"),
        pytest.param("WMh3ye5tBsE,1,2", "3 cells where the header has 9", id="too-few-cells"),
        pytest.param(GOOD.replace("624-48", "625-48"), "was line 2 with another box", id="contradiction"),
    ],
)
def test_bad_rows_are_refused_by_line(tmp_path, videos, row, message):
    with pytest.raises(MetadataError, match=rf"metadata\.csv: line 3: .*{re.escape(message)}"):
        read(tmp_path, videos, GOOD, row)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(HEADER.encode() + b"\n", "has a header but no rows", id="no-rows"),
        pytest.param(
            b"video_id,start,end\na,1,2\n", "line 1: missing columns bbox, fps, height", id="columns"
        ),
        pytest.param(b"a,b\n\xff\xfe", "byte 4 is not UTF-8", id="latin"),
        pytest.param(HEADER.encode() + b'\n"a', "line 2: not CSV", id="open-quote"),
    ],
)
def test_files_that_are_no_metadata_are_refused(tmp_path, videos, content, message):
    path = tmp_path / "metadata.csv"
    path.write_bytes(content)
    with pytest.raises(MetadataError, match=re.escape(f"{path}: {message}")):
        read_metadata(path, "vox", videos)


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path, videos):
    with pytest.raises(MetadataError, match="no such file"):
        read_metadata(tmp_path / "none.csv", "vox", videos)
    with pytest.raises(InputError, match="no such folder of videos"):
        read(tmp_path, tmp_path / "none", GOOD)
    with pytest.raises(InputError, match="dataset = 'voxceleb' is unknown"):
        read(tmp_path, videos, GOOD, dataset="voxceleb")


def test_the_spanless_ted_file_is_refused_as_what_it_is(tmp_path, videos):
    rows = [f"VM6HZqQKhok#0166{n},0,0,104-10-665-570,10.0,944,944,train" for n in range(3)]
    with pytest.raises(MetadataError, match=r"start = end = 0 in every row.*ted384-metadata\.csv"):
        read(tmp_path, videos, *rows, dataset="ted", header=HEADER.removesuffix(",person_id"))


@pytest.mark.parametrize("text", ["1-2-3-4", " 1-2-3-4 "])
def test_parse_box(text):
    assert parse_box(text) == (1, 2, 3, 4)


def test_videos_are_found_in_any_container(tmp_path):
    for name in ("-a_1.mkv", "b.MP4", "b.webm", "c.weird", "c.zzz", "d.mp4.part", "d.json", "e.en.vtt", "f"):
        (tmp_path / name).touch()
    (tmp_path / "g.mp4").mkdir()
    assert index_videos(tmp_path) == {"-a_1": "-a_1.mkv", "b": "b.MP4", "c": "c.weird"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published metadata files are not beside the repository")
@pytest.mark.parametrize(
    ("dataset", "rows", "clips", "videos_named", "partitions", "subjects"),
    [
        # 311 rows repeat; three of them with the other partition, and those clips are kept for testing.
        ("vox", 20_075, 19_764, 3_442, {"train": 19_239, "test": 525}, 435),
        ("taichi", 3_334, 3_334, 280, {"train": 3_049, "test": 285}, 1),
    ],
)
def test_published_metadata_parse_whole(videos, dataset, rows, clips, videos_named, partitions, subjects):
    metadata = read_metadata(SHARED / f"{dataset}-metadata.csv", dataset, videos)
    assert (metadata.rows, len(metadata.clips), metadata.duplicates) == (rows, clips, rows - clips)
    assert len({clip.clip_id for clip in metadata.clips}) == clips
    assert len({clip.video_id for clip in metadata.clips}) == metadata.missing_videos == videos_named
    assert Counter(clip.partition for clip in metadata.clips) == partitions
    assert len({clip.subject_id for clip in metadata.clips}) == subjects


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published metadata files are not beside the repository")
def test_the_circulating_ted_file_is_refused(videos):
    with pytest.raises(MetadataError, match="start = end = 0 in every row"):
        read_metadata(SHARED / "ted-metadata-broken.csv", "ted", videos)


OWN_HEADER = "video_id,start,end,bbox,fps,width,height,partition"
OWN_ROW = "v,0,64,0-0-9-9,25,9,9,train"


@pytest.mark.parametrize(
    ("header", "row", "clip_id", "subject"),
    [
        (OWN_HEADER, OWN_ROW, "v#000000#000064", ""),
        (f"{OWN_HEADER},person_id", f"{OWN_ROW},ann", "ann#v#000000#000064", "ann"),
        (f"{OWN_HEADER},person_id", f"{OWN_ROW},", "v#000000#000064", ""),
    ],
)
def test_people_are_optional(tmp_path, header, row, clip_id, subject):
    (tmp_path / "clips.csv").write_text(f"{header}\n{row}\n")
    (clip,) = read_metadata(tmp_path / "clips.csv", "own", tmp_path).clips
    assert (clip.clip_id, clip.subject_id, clip.dataset) == (clip_id, subject, "own")


def test_a_clip_table_is_read_as_the_users_own(tmp_path, videos):
    (videos / "WMh3ye5tBsE.mp4").touch()
    clips = read(tmp_path, videos, GOOD).clips
    table = tmp_path / "clips.parquet"
    write_clip_table(table, [replace(clip, video_path="elsewhere.mp4") for clip in clips])
    again = read_metadata(table, "own", videos)
    assert list(again.clips) == list(clips)
    assert (again.rows, again.duplicates, again.missing_videos) == (1, 0, 0)
    with pytest.raises(MetadataError, match=r"clips\.parquet: a clip table goes with --dataset own"):
        read_metadata(table, "vox", videos)
