"""The scores of an evaluation that is not done: a file of one JSON line a clip, so that it can be gone on with."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestration.evaluation.image_sets import ImageSets
from orchestration.evaluation.inputs import EvaluationInputs
from orchestration.evaluation.scores import ClipScore
from pipelines.errors import InputError

NAME = "unfinished.jsonl"
FEATURES = "features"
"""In a clip's row: what it adds to the sets of images (ImageSets)."""


class UnfinishedScores:
    """The clips scored so far, by clip id, and those that could not be; see `open_unfinished`."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.scores: dict[str, ClipScore] = {}
        self.failures: dict[str, str] = {}
        """Why, by clip id. Not in the file: these clips are tried again."""
        self.sets = ImageSets()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a clip's row; it is on disk when this returns. Raises OSError if it cannot be."""
        self.take(row)
        _append(self._handle, row)

    def take(self, row: Mapping[str, Any]) -> None:
        """Count a row that is in the file: of ClipScore, with FEATURES beside it if sets of images are compared.

        Raises ValueError, KeyError, TypeError or AttributeError if it is none.
        """
        values = dict(row)
        features = values.pop(FEATURES, None)
        score = ClipScore.from_row(values)
        if features is not None:
            self.sets.add(features)
        self.scores[score.clip_id] = score


@contextmanager
def open_unfinished(
    folder: Path, inputs: EvaluationInputs, *, drop_others: bool = False
) -> Iterator[UnfinishedScores]:
    """The scores that an earlier evaluation of the same inputs left in the folder, to go on with.

    The file begins with the inputs. When the block ends well, and no clip failed, the file is removed. Raises
    InputError if it was begun with other inputs, unless `drop_others` begins it anew, or if another process is at work
    on it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Name another folder.") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another evaluation is at work in this folder.") from None
        unfinished = UnfinishedScores(handle)
        _go_on(path, handle, inputs, unfinished, drop_others)
        yield unfinished
        if not unfinished.failures:
            path.unlink()
    finally:
        os.close(handle)


def _go_on(
    path: Path, handle: int, inputs: EvaluationInputs, unfinished: UnfinishedScores, drop_others: bool
) -> None:
    """Take in the rows that are there, one at a time: with what sets of images need, there may be gigabytes."""
    whole = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # a killed process was writing it
                row = json.loads(line)
                if whole:
                    unfinished.take(row)
                elif row != inputs.to_dict():
                    if drop_others:
                        break
                    unlike = EvaluationInputs.from_dict(row).differences(inputs)
                    raise InputError(
                        f"{path}: is of other inputs ({unlike}). Name another folder, or delete it."
                    )
                whole += len(line)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: is damaged ({error}). Delete it to evaluate from the beginning.") from None
    os.ftruncate(handle, whole)
    if not whole:
        _append(handle, inputs.to_dict())


def _append(handle: int, row: Mapping[str, object]) -> None:
    line = memoryview(json.dumps(row).encode() + b"\n")
    while line:
        line = line[os.write(handle, line) :]
    os.fsync(handle)
