"""A folder of clips that are cropped already, as video files or as folders of numbered images: whole frames, all
frames. Its clip table goes through `prepare` like any other.

A clip is named by its path below the folder, with # for each slash: id00012/21Uxsk56VDQ/00001.mp4 is the clip
id00012#21Uxsk56VDQ#00001. A clip whose file cannot be read is in the table nevertheless, and fails in `prepare`.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.clip_table import MAX_FPS, MAX_NUMBER, MIN_FPS, PARTITIONS, Clip, Partition, check_id
from pipelines.corpus.failures import ClipError
from pipelines.corpus.metadata import NOT_VIDEOS, Metadata
from pipelines.corpus.subject_split import TEST_FRACTION, check_test_fraction, choose_test_subjects
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.decoder_process import Decoders
from pipelines.errors import InputError
from pipelines.progress import progress_line

SEPARATOR = "#"
DEFAULT_FPS = 25.0


@dataclass(frozen=True)
class _Extent:
    """What a clip's row says of its file."""

    frames: int
    fps: float
    width: int
    height: int


@dataclass(frozen=True)
class _Place:
    """One clip's file or folder."""

    path: Path
    name: str
    partition: Partition | None
    """None where the folder has no train/ and test/."""

    @property
    def subject(self) -> str:
        """What the file's own name has before its first #, else what the clip's name has, else all of that."""
        own = _own_name(self.path)
        return (own if SEPARATOR in own else self.name).partition(SEPARATOR)[0] or self.name


@dataclass(frozen=True)
class _Row:
    """A clip, and whether it may well be usable."""

    clip: Clip
    sound: bool


# Stands for a file that cannot be read; the clip fails before these numbers matter.
_UNKNOWN = _Extent(frames=1, fps=DEFAULT_FPS, width=1, height=1)
# Stands for a file that may open, but states what no clip can have or took too long to measure: the clip is too short.
_ENDLESS = replace(_UNKNOWN, frames=MAX_NUMBER)
_NOT_MEASURED = ("timed_out", "crashed_decoder")


def read_clip_folder(
    folder: Path, test_fraction: float | None = None, limits: PrepareConfig | None = None
) -> Metadata:
    """The clip table of the video files anywhere below `folder`, optionally below its train/ and test/.

    Without those two, `test_fraction` (TEST_FRACTION if None) of the subjects are to test on. Files are opened within
    `limits` (by default those of PrepareConfig). Raises InputError for names that cannot be clips' and for a folder
    without any, or one that cannot be read.
    """

    def extent(path: Path, decoders: Decoders) -> _Extent:
        whole = decoders.measure(path)
        return _Extent(whole.frames, float(whole.info.fps), whole.info.width, whole.info.height)

    return _read("clips", folder, _video_files, extent, test_fraction, limits)


def read_frame_folders(
    folder: Path,
    fps: float = DEFAULT_FPS,
    test_fraction: float | None = None,
    limits: PrepareConfig | None = None,
) -> Metadata:
    """The clip table of `folder`/[train|test/]CLIP/<numbered png or jpg>, shown at `fps` frames a second.

    `test_fraction`, `limits` and errors are those of `read_clip_folder`.
    """

    if not MIN_FPS <= fps <= MAX_FPS:
        raise InputError(
            f"--fps {fps:g}: give the frames a second of the images, from {MIN_FPS:g} to {MAX_FPS:g}"
        )

    def extent(path: Path, decoders: Decoders) -> _Extent:
        sequence = decoders.list_sequence(path)
        return _Extent(sequence.count, fps, sequence.width, sequence.height)

    return _read("frames", folder, _subfolders, extent, test_fraction, limits)


def _read(
    dataset: str,
    folder: Path,
    find: Callable[[Path], Iterable[Path]],
    extent: Callable[[Path, Decoders], _Extent],
    test_fraction: float | None,
    limits: PrepareConfig | None,
) -> Metadata:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of {dataset}. Give the folder that holds them.")
    fraction = _fraction(test_fraction)
    places = _places(folder, dataset, find, test_fraction)

    def row(place: _Place) -> _Row:
        try:
            return _Row(_clip(dataset, folder, place, extent(place.path, decoders)), sound=True)
        except ClipError as error:
            sound = error.rejected.reason in _NOT_MEASURED
        except ValueError:
            return _Row(_clip(dataset, folder, place, _ENDLESS), sound=False)
        return _Row(_clip(dataset, folder, place, _ENDLESS if sound else _UNKNOWN), sound=sound)

    done: Counter[str] = Counter()
    rows = []
    with (
        Decoders(limits or PrepareConfig()) as decoders,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress_line(lambda: Counter(done), Counter(), len(places), sys.stderr, name="list"),
    ):
        for found in pool.map(row, places):
            rows.append(found)
            done["" if found.sound else "unreadable"] += 1
    clips = [row.clip for row in rows] if places[0].partition else _split(rows, fraction)
    return Metadata(
        clips=clips, rows=len(clips), duplicates=0, missing_videos=0, sha256=ClipColumns.of(clips).digest
    )


def _split(rows: Sequence[_Row], fraction: float) -> list[Clip]:
    """The clips, those of the test subjects with that partition: subjects of whom no clip will do test nothing."""
    sound = [row.clip.subject_id for row in rows if row.sound]
    tested = choose_test_subjects(sound or [row.clip.subject_id for row in rows], fraction)
    return [
        replace(row.clip, partition="test") if row.clip.subject_id in tested else row.clip for row in rows
    ]


def _places(
    folder: Path, dataset: str, find: Callable[[Path], Iterable[Path]], test_fraction: float | None
) -> list[_Place]:
    tops: dict[Partition | None, Path] = {
        partition: folder / partition for partition in PARTITIONS if (folder / partition).is_dir()
    }
    if tops:
        if test_fraction is not None:
            raise InputError(
                f"{folder}: its folders {' and '.join(top.name for top in tops.values())} say what is tested on: "
                "leave --test-fraction out"
            )
        _refuse_others(folder, find, set(tops.values()))
    found = [
        _Place(path, SEPARATOR.join((*path.relative_to(top).parts[:-1], _own_name(path))), partition)
        for partition, top in (tops or {None: folder}).items()
        for path in find(top)
    ]
    if not found:
        what = "video files" if dataset == "clips" else "folders of numbered images"
        raise InputError(f"{folder}: holds no {what}. Give the folder that holds the {dataset}.")
    _refuse_names(found)
    return found


def _refuse_names(places: Sequence[_Place]) -> None:
    """Names become keys of samples and names of files."""
    first: dict[str, _Place] = {}
    for place in places:
        try:
            check_id("clip_id", place.name)
            check_id("subject_id", place.subject)
        except ValueError as error:
            raise InputError(f"{place.path}: {error}. Rename it.") from None
        if (same := first.setdefault(place.name, place)) is not place:
            raise InputError(f"{place.path}: is clip {place.name}, as {same.path} is. Rename or remove one.")


def _refuse_others(folder: Path, find: Callable[[Path], Iterable[Path]], tops: set[Path]) -> None:
    for path in find(folder):
        if not any(top == path or top in path.parents for top in tops):
            raise InputError(
                f"{path}: lies beside {' and '.join(sorted(top.name for top in tops))}, so that its partition is "
                "unknown. Move it into one of them."
            )


def _clip(dataset: str, folder: Path, place: _Place, known: _Extent) -> Clip:
    return Clip(
        clip_id=place.name,
        dataset=dataset,
        video_id=place.name,
        video_path=place.path.relative_to(folder).as_posix(),
        start=0,
        end=known.frames,
        fps=known.fps,
        left=0,
        top=0,
        right=known.width,
        bottom=known.height,
        ref_width=known.width,
        ref_height=known.height,
        partition=place.partition or "train",
        subject_id=place.subject,
    )


def _own_name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _video_files(top: Path) -> Iterator[Path]:
    """All files that may be videos, in the order of their paths; links are followed, each folder entered once."""
    entered: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(top, followlinks=True, onerror=_refuse_unreadable):
        here = os.stat(parent)
        if (here.st_dev, here.st_ino) in entered:
            folders.clear()
            continue
        entered.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if suffix and suffix not in NOT_VIDEOS and not name.startswith("."):
                yield Path(parent, name)


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise InputError(
        f"{error.filename}: cannot be read ({error.strerror}). Let it be read, or move it out of the folder."
    ) from error


def _subfolders(top: Path) -> Iterator[Path]:
    yield from sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith("."))


def _fraction(given: float | None) -> float:
    fraction = TEST_FRACTION if given is None else given
    check_test_fraction(fraction)
    return fraction
