"""The ledger of downloads: what is read back, whatever happened to the file."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpus.metadata import index_videos
from pipelines.download.ledger import NAME, Ledger, Record, open_ledger, read_ledger
from pipelines.errors import InputError

DEAD = Record(video_id="a", url="u/a", outcome="removed", message="Video unavailable: “é”")
THERE = Record(video_id="a", url="u/a", outcome="downloaded", file="a.mp4", bytes=3, attempts=2, time="2026")


def lines(folder):
    return (folder / NAME).read_bytes().split(b"\n")


def test_records_come_back(tmp_path):
    with open_ledger(tmp_path) as ledger:
        ledger.add(DEAD)
        assert ledger.last("a", "u/a") == DEAD
    assert read_ledger(tmp_path).last("a", "u/a") == DEAD
    assert json.loads(lines(tmp_path)[0])["message"] == DEAD.message


def test_the_last_line_of_a_video_and_address_counts(tmp_path):
    with open_ledger(tmp_path) as ledger:
        ledger.add(DEAD)
    with open_ledger(tmp_path) as ledger:
        ledger.add(THERE)
        ledger.add(Record(video_id="a", url="mirror/a", outcome="not_found"))
    ledger = read_ledger(tmp_path)
    assert ledger.last("a", "u/a") == THERE
    assert ledger.last("a", "mirror/a").dead
    assert ledger.last("b", "u/b") is None
    assert len(lines(tmp_path)) == 4


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_half_a_line_at_the_end_costs_nothing_else(tmp_path, cut):
    with open_ledger(tmp_path) as ledger:
        ledger.add(DEAD)
        ledger.add(Record(video_id="b", url="u/b", outcome="private"))
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-cut])
    with open_ledger(tmp_path) as ledger:
        assert ledger.last("a", "u/a") == DEAD
        assert ledger.damaged_lines == []
        ledger.add(THERE)
    assert read_ledger(tmp_path).last("a", "u/a") == THERE


def test_a_last_line_that_only_lacks_its_end_counts(tmp_path):
    with open_ledger(tmp_path) as ledger:
        ledger.add(DEAD)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert read_ledger(tmp_path).last("a", "u/a") == DEAD


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\0",
        b"{}",
        b"[1, 2]",
        b"null",
        b"[" * 100_000,
        b'{"video_id": "a", "url": "u/a", "outcome": "alive"}',
        b'{"video_id": ["a"], "url": "u/a", "outcome": "removed"}',
        b'{"video_id": "a", "url": "u/a", "outcome": "removed", "bytes": true}',
        b'{"video_id": "a", "url": "u/a", "outcome": "removed", "more": 1}',
    ],
)
def test_damaged_lines_are_counted_and_passed_over(tmp_path, damage):
    with open_ledger(tmp_path) as ledger:
        ledger.add(DEAD)
    path = tmp_path / NAME
    path.write_bytes(damage + b"\n" + path.read_bytes())
    with open_ledger(tmp_path) as ledger:
        assert ledger.damaged_lines == [1]
        assert ledger.last("a", "u/a") == DEAD
    assert path.read_bytes().startswith(damage)


@settings(max_examples=25)
@given(st.text(), st.text())
def test_any_text_stays_one_line(tmp_path_factory, video_id, message):
    folder = tmp_path_factory.mktemp("ledger")
    record = Record(video_id=video_id, url="", outcome="other", message=message)
    with open_ledger(folder) as ledger:
        ledger.add(record)
    assert len(lines(folder)) == 2
    assert read_ledger(folder).last(video_id, "") == record


def test_two_downloads_do_not_write_to_one_ledger(tmp_path):
    with (
        open_ledger(tmp_path),
        pytest.raises(InputError, match="another lia download is at work"),
        open_ledger(tmp_path),
    ):
        pass
    with open_ledger(tmp_path) as ledger:
        ledger.add(DEAD)


def test_a_ledger_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match=r"download-ledger\.jsonl: cannot be written"), open_ledger(tmp_path):
        pass


def test_the_ledger_is_no_video(tmp_path):
    with open_ledger(tmp_path):
        assert index_videos(tmp_path) == {}


def test_reading_writes_nothing(tmp_path):
    assert Ledger(tmp_path / NAME).last("a", "u/a") is None
    assert list(tmp_path.iterdir()) == []
