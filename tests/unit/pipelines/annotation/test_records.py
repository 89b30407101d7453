"""Records of videos that were looked through."""

import pytest

from pipelines.annotation.records import Failure, FoundClip, VideoRecord, read_record, write_record

SOUND = VideoRecord(
    video_id="v", video_path="v.mp4", width=640, height=360, fps=25.0, frames=99, shots=2,
    clips=(FoundClip("", 0, 64, 0, 0, 300, 300),), dropped={"too_short": 3},
)  # fmt: skip
FAILED = VideoRecord(
    video_id="v", video_path="v.mp4", failure=Failure(reason="unreadable", message="v.mp4: torn")
)


@pytest.mark.parametrize("record", [SOUND, FAILED], ids=["sound", "failed"])
def test_records_come_back(tmp_path, record):
    write_record(tmp_path, record, "state")
    assert read_record(tmp_path, "v.mp4", "state") == record


def test_a_record_of_another_state_or_torn_does_not_count(tmp_path):
    assert read_record(tmp_path, "v.mp4", "state") is None
    write_record(tmp_path, SOUND, "state")
    assert read_record(tmp_path, "v.mp4", "later") is None
    assert read_record(tmp_path, "w.mp4", "state") is None
    (path,) = tmp_path.iterdir()
    for damaged in (path.read_bytes()[:-9], b"[]", b"\xff", b'{"source": "state", "record": {}}'):
        path.write_bytes(damaged)
        assert read_record(tmp_path, "v.mp4", "state") is None


def test_reasons_are_a_closed_list():
    with pytest.raises(ValueError, match=r"Failure\.reason must be one of"):
        Failure(reason="bad luck", message="")


def test_tracks_are_clips_and_dropped():
    assert SOUND.tracks == 4
