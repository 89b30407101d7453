import pyarrow as pa

from pipelines.inspection.survey import group_clips, group_failures


def clips(*rows):
    return pa.table(dict(zip(("subject_id", "partition"), zip(*rows, strict=True), strict=True)))


def test_clips_are_counted_by_subject_and_partition_most_first():
    groups = group_clips(
        clips(("b", "train"), ("a", "train"), ("b", "test"), ("", "train"), ("c", "test"), ("b", "train")),
        "subject_id",
    )
    assert groups.names == ["b", "a", "c"]
    assert groups.clips["train"].tolist() == [2, 1, 0]
    assert groups.clips["test"].tolist() == [1, 0, 1]
    assert groups.totals.tolist() == [3, 1, 1]
    assert groups.in_both == [0]


def test_where_nobody_is_named_there_are_no_groups():
    groups = group_clips(clips(("", "train"), ("", "test")), "subject_id")
    assert (groups.names, groups.in_both, groups.totals.tolist()) == ([], [], [])


def failure(video, reason, message, stage="probe"):
    return {
        "clip_id": f"{video}#{message}",
        "video_id": video,
        "stage": stage,
        "reason": reason,
        "message": message,
    }


def test_failures_are_grouped_with_messages_of_different_videos():
    rows = [failure("v", "damaged", str(number), "decode") for number in range(3)]
    rows += [failure("w", "damaged", "3", "decode"), failure("x", "missing_video", "4")]
    damaged, missing = group_failures(pa.Table.from_pylist(rows))
    assert (damaged.stage, damaged.reason, damaged.clips) == ("decode", "damaged", 4)
    assert damaged.examples == [("v#0", "0"), ("w#3", "3")]
    assert (missing.clips, missing.examples) == (1, [("x#4", "4")])
