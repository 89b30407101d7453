"""The checkpoints of one run: written beside the training, the newest and the best kept, damaged ones set aside."""

import itertools
import math
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError

from orchestration.training.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    Snapshot,
    read_progress,
    read_state,
)
from orchestration.training.run_folder import steps_in
from pipelines.errors import StorageError

SCORE = "l1"
"""The validation score by which a checkpoint is the best: the lowest."""


class CheckpointStore:
    """Folders `step-00000250` below one folder. One process writes at a time: rank 0, or the driver before it."""

    def __init__(
        self, folder: Path, *, keep: int = 3, before_write: Callable[[], object] = lambda: None
    ) -> None:
        """`before_write` is called before each checkpoint, in the thread that writes it."""
        self.folder = folder
        self.keep = keep
        self._before_write = before_write
        self.set_aside: list[str] = []
        """What was said of damaged checkpoints."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._cleared = False
        self._pending: Future[None] | None = None

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first; they may be damaged."""
        return steps_in(self.folder)

    def newest_sound(self) -> int | None:
        """Step of the newest checkpoint whose files have their digests; None if there is none.

        Newer ones that are damaged are set aside as damaged-step-NNNNNNNN. Raises CheckpointError if there were
        checkpoints and none is sound: to begin again from nothing is the user's decision.
        """
        found = self.steps()
        sound = next(filter(self._is_sound, reversed(found)), None)
        if found and sound is None:
            raise CheckpointError(
                f"{self.folder}: none of its {len(found)} checkpoints is sound; delete the run's folder to start over"
            )
        return sound

    def best(self) -> tuple[int, float] | None:
        """Step and score of the checkpoint with the lowest validation score; None where none was validated."""
        scores = {}
        for step in self.steps():
            try:
                validation = read_state(self.path(step))[0].validation
            except CheckpointError:
                continue  # it is not the best
            if math.isfinite(validation.get(SCORE, math.nan)):
                scores[step] = validation[SCORE]
        if not scores:
            return None
        step = min(scores, key=lambda step: (scores[step], step))
        return step, scores[step]

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint in the background, after the one before it. Raises StorageError if that one failed."""
        self.finish()
        self._pending = self._writer.submit(self._write, snapshot)

    def finish(self) -> None:
        """Wait until what was saved is on disk. Raises StorageError if it could not be written."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except (OSError, SafetensorError, RuntimeError) as error:
            # torch and safetensors raise errors of their own for a full disk, torch on top of the system's.
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            raise StorageError(
                f"{self.folder}: a checkpoint could not be written ({reason}); those before it are whole. Make room "
                f"({self._free_mb()} MB are free), then go on with --resume"
            ) from error

    def require_writable(self) -> None:
        """Raise StorageError as soon as it is known that the last checkpoint could not be written; does not wait."""
        if self._pending is not None and self._pending.done():
            self.finish()

    def _write(self, snapshot: Snapshot) -> None:
        self._before_write()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clear_leftovers()
        target = self.path(snapshot.progress.step)
        if not target.exists():  # else a run that goes on made it again, to the same bits
            try:
                snapshot.write(target)
            except OSError:
                # A worker that outlives its driver for a moment may have made it meanwhile, again to the same bits.
                if not target.exists():
                    raise
        self._remove_old()

    def _clear_leftovers(self) -> None:
        """Remove what killed processes left; once, so that a worker on its last legs leaves its successor's alone."""
        if not self._cleared:
            for leftover in (*self.folder.glob(".step-*.partial"), *self.folder.glob(".step-*.removed")):
                shutil.rmtree(leftover, ignore_errors=True)
        self._cleared = True

    def _free_mb(self) -> int:
        there = next(place for place in (self.folder, *self.folder.parents) if place.is_dir())
        return shutil.disk_usage(there).free // 1_000_000

    def _remove_old(self) -> None:
        steps, best = self.steps(), self.best()
        for step in steps[: -self.keep]:
            if best is None or step != best[0]:
                # Out of sight first: half a checkpoint must not be taken for one.
                aside = self.folder / f".step-{step:08d}.removed"
                with suppress(FileNotFoundError):  # removed by a worker that outlived its driver for a moment
                    self.path(step).rename(aside)
                    shutil.rmtree(aside)

    def _is_sound(self, step: int) -> bool:
        """Whether all files have their digests; a folder where they have not is set aside."""
        folder = self.path(step)
        try:
            progress = read_progress(folder)
            if progress.step != step:
                raise DamagedCheckpointError(f"{folder}/state.json: is of step {progress.step}")
        except DamagedCheckpointError as error:
            suffixes = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
            places = (folder.with_name(f"damaged-{folder.name}{suffix}") for suffix in suffixes)
            aside = next(place for place in places if not place.exists())
            self.set_aside.append(f"{error}; it is set aside as {aside.name}")
            folder.rename(aside)
            return False
        return True
