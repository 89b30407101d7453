"""The clip table: what a clip may be, and tables on disk."""

import re
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpus import clip_table
from pipelines.corpus.clip_table import (
    COLUMNS,
    Clip,
    check_id,
    clip_id,
    parse_clip,
    read_clip_table,
    write_clip_table,
)
from pipelines.errors import MetadataError

CLIP = Clip(
    clip_id="id1#-a_b#000010#000020", dataset="vox", video_id="-a_b", video_path="-a_b.mp4", start=10, end=20,
    fps=29.97, left=-3, top=0, right=97, bottom=100, ref_width=640, ref_height=480, partition="train",
    subject_id="id1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("WMh3ye5tBsE", 3657, 3994, "id10005"), "id10005#WMh3ye5tBsE#003657#003994", id="vox"),
        pytest.param(("u6rJiF-gPx8", 80, 300), "u6rJiF-gPx8#000080#000300", id="taichi"),
        pytest.param(("v", 1_234_567, 1_234_568), "v#1234567#1234568", id="long-video"),
    ],
)
def test_clip_id(arguments, expected):
    assert clip_id(*arguments) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_id": ""}, "clip_id is empty"),
        ({"clip_id": "a.b"}, "no dots"),
        ({"clip_id": "../a"}, "no dots"),
        ({"video_id": "a/b"}, "no slashes"),
        ({"video_id": "a\\b"}, "no slashes"),
        ({"video_id": ".."}, "no dots"),
        ({"video_id": "a\0b"}, "control characters"),
        ({"video_id": "a\nb"}, "control characters"),
        ({"video_id": " a"}, "outer spaces"),
        ({"video_id": "x" * 201}, "longer than 200 bytes"),
        ({"subject_id": "a/b"}, "subject_id"),
        ({"video_path": "a\0"}, "NUL"),
        ({"partition": "val"}, "partition = 'val'"),
        ({"fps": 0.0}, "fps = 0.0"),
        ({"fps": 1e-9}, "fps = 1e-09 must be from 0.01 to 1000"),
        ({"fps": -25.0}, "fps = -25.0"),
        ({"fps": float("nan")}, "fps = nan"),
        ({"fps": float("inf")}, "fps = inf"),
        ({"start": -1}, "start = -1 is negative"),
        ({"start": 20}, "start = 20 must be below end = 20"),
        ({"end": 10**12}, "beyond any real video"),
        ({"left": 97}, "left < right"),
        ({"top": 200}, "top < bottom"),
        ({"ref_width": 0}, "0x480"),
    ],
)
def test_what_cannot_be_a_clip_is_refused(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(CLIP, **change)


@given(st.text())
def test_an_accepted_id_is_one_file_name_and_one_key(name):
    try:
        check_id("video_id", name)
    except ValueError:
        return
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\.\0\r\n")
    assert len(f"{name}.json".encode()) < 255


ids = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="./\\"),
    min_size=1,
    max_size=20,
)
clips = st.builds(
    lambda name, start, length, fps, left, width, partition, subject: replace(
        CLIP, clip_id=clip_id(name, start, start + length, subject), video_id=name, start=start, subject_id=subject,
        end=start + length, fps=fps, left=left, right=left + width, partition=partition,
    ),
    ids, st.integers(0, 10**8), st.integers(1, 10**6), st.floats(0.01, 1000), st.integers(-1000, 1000),
    st.integers(1, 1000), st.sampled_from(["train", "test"]), st.one_of(st.just(""), ids),
)  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@settings(max_examples=30)
@given(table=st.lists(clips, min_size=1, max_size=5, unique_by=lambda clip: clip.clip_id))
def test_tables_come_back_as_written(tmp_path_factory, suffix, table):
    path = tmp_path_factory.mktemp("table") / f"clips{suffix}"
    write_clip_table(path, table)
    assert list(read_clip_table(path)) == table


def _csv(rows: list[dict[str, object]]) -> str:
    return (
        "\n".join([",".join(COLUMNS), *(",".join(str(row[name]) for name in COLUMNS) for row in rows)]) + "\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(_csv([]), "holds no clips", id="no-rows"),
        pytest.param("clip_id,start\na,1\n", "line 1: missing columns bottom, dataset", id="columns"),
        pytest.param(
            _csv([asdict(CLIP)] * 2), "line 3: clip_id 'id1#-a_b#000010#000020' is there twice", id="twice"
        ),
        pytest.param(
            _csv([asdict(CLIP) | {"end": 5}]), "line 2: start = 10 must be below end = 5", id="span"
        ),
        pytest.param(_csv([asdict(CLIP) | {"start": "x"}]), "line 2: start = 'x' is not a number", id="text"),
        pytest.param(
            _csv([asdict(CLIP) | {"start": "1.5"}]), "line 2: start = '1.5' is not a whole", id="fraction"
        ),
    ],
)
def test_bad_tables_are_refused(tmp_path, content, message):
    path = tmp_path / "clips.csv"
    path.write_text(content)
    with pytest.raises(MetadataError, match=re.escape(f"{path}: {message}")):
        list(read_clip_table(path))


def test_rows_are_counted_through_all_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_table, "BATCH_ROWS", 2)
    path = tmp_path / "clips.parquet"
    rows = [replace(CLIP, clip_id=f"v{number}") for number in range(5)]
    write_clip_table(path, rows)
    read = read_clip_table(path)
    assert (isinstance(read, list), [clip.clip_id for clip in read]) == (
        False,
        ["v0", "v1", "v2", "v3", "v4"],
    )
    write_clip_table(path, [*rows, rows[1]])
    with pytest.raises(MetadataError, match="row 5: clip_id 'v1' is there twice"):
        list(read_clip_table(path))


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "clips.parquet"
    path.write_text("no table")
    with pytest.raises(MetadataError, match="not a Parquet file"):
        list(read_clip_table(path))


def test_spreadsheets_write_whole_numbers_with_a_point():
    assert parse_clip(asdict(CLIP) | {"start": "10.0"}) == CLIP
