"""Who is seen in each video."""

import pytest

from pipelines.annotation.subjects import subjects_of
from pipelines.errors import InputError, MetadataError


def test_a_table(tmp_path):
    table = tmp_path / "people.csv"
    table.write_text("video_id,subject_id\na,anna\nb,ben\nc,anna\n")
    assert subjects_of(str(table), ["b", "a"]) == {"a": "anna", "b": "ben"}


def test_a_pattern():
    assert subjects_of(r"(\w+?)-", ["anna-01", "ben-02"]) == {"anna-01": "anna", "ben-02": "ben"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,anna\n", r"no subject for 1 of 2 videos \(b\)"),
        ("a,anna\nb,ben\na,ben\n", "line 4: a was anna above"),
        ("a,anna\nb,\n", "line 3: subject_id is empty"),
        ("a,../x\nb,b\n", r"line 2: subject_id = '../x' holds"),
        ("a\n", "line 2: 1 cells where the header has 2"),
    ],
)
def test_bad_tables(tmp_path, rows, message):
    table = tmp_path / "people.csv"
    table.write_text("video_id,subject_id\n" + rows)
    with pytest.raises(InputError, match=message):
        subjects_of(str(table), ["a", "b"])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "neither a .csv file nor a regular expression"),
        ("anna", "has no group"),
        ("(x)", r"no subject for 2 of 2 videos \(anna-01, ben-02\)"),
        ("(anna)", r"no subject for 1 of 2 videos \(ben-02\)"),
        ("(.*)(?<=never)?", None),
    ],
)
def test_bad_patterns(pattern, message):
    videos = ["anna-01", "ben-02"]
    if message is None:
        assert set(subjects_of(pattern, videos).values()) == set(videos)
        return
    with pytest.raises(InputError, match=message):
        subjects_of(pattern, videos)


def test_a_table_that_is_not_there():
    with pytest.raises(MetadataError, match="no such file"):
        subjects_of("none.csv", ["a"])
