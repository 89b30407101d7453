"""Who is seen in each video, as the user says: a table, or a pattern in the videos' names."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.corpus.clip_table import check_id, read_csv
from pipelines.errors import InputError, MetadataError

COLUMNS = ("video_id", "subject_id")
_NAMED = 3


def subjects_of(source: str, video_ids: Iterable[str]) -> dict[str, str]:
    """The subject of every video: from a CSV file with columns video_id,subject_id, or by a regular expression.

    The expression is matched against the beginning of each video id; its first group is the subject. Raises
    MetadataError or InputError for a source that is neither, or that leaves a video without a subject.
    """
    videos = sorted(video_ids)
    from_table = source.endswith(".csv") or Path(source).is_file()
    found = _read_table(Path(source)) if from_table else _match(source, videos)
    if missing := [video for video in videos if video not in found]:
        some = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        raise InputError(
            f"--subjects {source}: no subject for {len(missing)} of {len(videos)} videos ({some}). Without one, a "
            f"person could be in train and in test: name a subject for every video."
        )
    return {video: found[video] for video in videos}


def _read_table(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for line, row in read_csv(path, COLUMNS):
        video, subject = (row[column].strip() for column in COLUMNS)
        try:
            check_id("subject_id", subject)
        except ValueError as error:
            raise MetadataError(f"{path}: line {line}: {error}. Correct the row.") from None
        if found.setdefault(video, subject) != subject:
            raise MetadataError(
                f"{path}: line {line}: {video} was {found[video]} above. Keep one of the two."
            )
    return found


def _match(pattern: str, videos: Iterable[str]) -> Mapping[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--subjects {pattern}: neither a .csv file nor a regular expression ({error})."
        ) from None
    if not expression.groups:
        raise InputError(
            f"--subjects {pattern}: has no group. Put the part that names the subject in parentheses."
        )
    found = {}
    for video in videos:
        if (match := expression.match(video)) and match[1]:
            try:
                check_id("subject_id", match[1])
            except ValueError as error:
                raise InputError(f"--subjects {pattern}: {video}: {error}.") from None
            found[video] = match[1]
    return found
