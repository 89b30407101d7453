"""Export a dataset on the Ray cluster: actors hold it open and write one clip at a time."""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.cluster import connected
from pipelines.dataset.export import ExportFormat, claim, export_clip, missing_clips
from pipelines.dataset.pairs import PairDataset
from pipelines.placement import await_machine, cpus, demand, expected
from pipelines.progress import progress_line
from pipelines.storage.location import Location

# Writing a clip again gives the same files, so a worker that dies may be replaced.
_RETRIES = 3


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What an export left."""

    folder: Path
    clips: int
    frames: int
    kept: int
    """Of the clips, those that were there before."""

    def report(self) -> str:
        """One line for the terminal."""
        kept = f", {self.kept} of them unchanged" if self.kept else ""
        return f"{self.clips} clips{kept}, {self.frames} frames in {self.folder}"


class _Exporter:
    """One process that writes clips."""

    def __init__(self, root: Location, partition: str, out: Path, form: ExportFormat) -> None:
        self._dataset, self._out, self._form = PairDataset(root, partition), out, form

    def ready(self) -> None:
        """Returns once it has started."""

    def export(self, clip: int) -> None:
        export_clip(self._out, self._dataset, clip, self._form)


def export(
    root: Location, out: Path, partition: str, form: ExportFormat, *, verbose: bool = False
) -> ExportSummary:
    """Write the clips of a partition below `out`; those that are there already are kept.

    On a cluster, dataset and `out` lie on storage that all nodes share. Raises DatasetError for a dataset that is
    absent or damaged and InputError for an `out` that holds other things.
    """
    dataset = PairDataset(root, partition)
    claim(out, dataset, form)
    missing = missing_clips(out, dataset, form)
    if missing:
        _export(root.absolute(), partition, out.absolute(), form, missing, len(dataset), verbose)
    return ExportSummary(
        folder=out / partition,
        clips=len(dataset),
        frames=int(dataset.n_frames.sum()),
        kept=len(dataset) - len(missing),
    )


def _export(
    root: Location,
    partition: str,
    out: Path,
    form: ExportFormat,
    missing: list[int],
    total: int,
    verbose: bool,
) -> None:
    with connected(verbose=verbose):
        import ray
        from ray.util import ActorPool

        await_machine("prepare", useful_cpus=len(missing))
        actor: Any = ray.remote(_Exporter).options(
            num_cpus=1, resources=demand("prepare"), max_restarts=_RETRIES, max_task_retries=_RETRIES
        )
        count = min(cpus(expected("prepare")), len(missing))
        coming = {
            (made := actor.remote(root, partition, out, form)).ready.remote(): made for _ in range(count)
        }

        def joined(*, wait: bool) -> list[Any]:
            """Exporters that have started since, one at least to `wait` for: others' machines may never come."""
            wanted, timeout = (1, None) if wait else (len(coming), 0)
            started, _ = ray.wait(list(coming), num_returns=wanted, timeout=timeout)
            return [coming.pop(ready) for ready in started]

        pool = ActorPool(joined(wait=True))
        written = pool.map_unordered(lambda exporter, clip: exporter.export.remote(clip), missing)
        before = Counter({"": total - len(missing)})
        done = Counter(before)
        with progress_line(lambda: Counter(done), before, total, sys.stderr, name="export"):
            for _ in written:
                done[""] += 1
                for exporter in joined(wait=False) if coming else []:
                    pool.push(exporter)
