"""Clips as a CSV file in the columns of the published metadata."""

import csv
from collections.abc import Sequence
from pathlib import Path

from pipelines.corpus.clip_table import Clip
from pipelines.corpus.metadata import COLUMNS, PERSON
from pipelines.storage.atomic import atomic_path


def write_published_csv(path: Path, clips: Sequence[Clip], with_persons: bool) -> None:
    """Write clips such that `read_metadata` gives them back; `with_persons` adds the column person_id."""
    with (
        atomic_path(path, keep_equal=True) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, PERSON] if with_persons else COLUMNS)
        for clip in clips:
            box = f"{clip.left}-{clip.top}-{clip.right}-{clip.bottom}"
            row = [clip.video_id, clip.start, clip.end, box, clip.fps, clip.ref_width, clip.ref_height]
            writer.writerow([*row, clip.partition, *([clip.subject_id] if with_persons else [])])
