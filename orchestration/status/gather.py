"""All that can be seen from here at one moment: every source is asked at once, and none is waited for too long."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.errors import last_line
from orchestration.status.dashboard import Cluster, read_cluster
from orchestration.status.places import Places, find_places
from orchestration.status.sweeps import SweepProgress, read_sweep
from orchestration.status.training import TrainingProgress, read_recorded, read_training
from orchestration.status.unreached import Unreached
from orchestration.training.run_folder import RunFolder
from pipelines.errors import InputError
from pipelines.preparation.watching import PreparationProgress, read_progress
from pipelines.storage.location import DATASET, Location
from pipelines.storage.store import store_at
from tracking.errors import TrackingError, without_credentials
from tracking.quiet import quiet_mlflow
from tracking.store import database_path, resolve_tracking_uri

LIMIT_SECONDS = 20.0
"""For all sources together; a connection alone has five seconds."""
COUNTING_SECONDS = 4.0
"""For a preparation's failed clips."""
SHOWN = 4
"""Of runs, datasets and sweeps each: those under way, then the newest."""
# Left to themselves, the clients of MLflow and of object storage wait for minutes.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "AWS_MAX_ATTEMPTS": "1",
}


@dataclass(frozen=True, kw_only=True)
class Status:
    """What was seen, and what could not be."""

    at: float
    """In seconds since 1970."""
    cluster: Cluster | None
    preparations: Sequence[tuple[str, PreparationProgress]]
    """Each with its place."""
    trainings: Sequence[TrainingProgress]
    sweeps: Sequence[SweepProgress]
    left_out: Mapping[str, int]
    """How many more there are of each kind."""
    unreached: Sequence[Unreached]
    stuck: bool = False
    """Whether a source still has not answered: its thread cannot be ended."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.cluster or self.preparations or self.trainings or self.sweeps)


def gather(address: str, outs: Sequence[Location] | None = None) -> Status:
    """Ask the dashboard at `address`, MLflow, and all that lies in or below `outs`, or the working directory."""
    places = find_places([Path()] if outs is None else outs)
    _load_clients(places)
    runs = newest(places.runs, "finished.json", "run.json")
    datasets = newest(
        [place for place in places.datasets if isinstance(place, Path)], "dataset.json", ".outcomes"
    )
    elsewhere = [place for place in places.datasets if not isinstance(place, Path)]
    sweeps = newest(places.sweeps, "report.html", "sweep.json")
    prepared = [*elsewhere, *datasets[:SHOWN]]
    work: dict[str, Callable[[], Any]] = {"Ray": lambda: read_cluster(address)}
    work |= {str(place): _reading(_read_datasets, place) for place in prepared}
    work |= {str(path): _reading(read_training, path) for path in runs[:SHOWN]}
    work |= {str(path): _reading(read_sweep, path) for path in sweeps[:SHOWN]}
    if _has_store() or not runs:  # runs name their store, which need not be that of this folder
        work["MLflow"] = lambda: read_recorded(resolve_tracking_uri(), without=_run_ids(places))
    with _impatient():
        found, failed, stuck = ask_all(work, LIMIT_SECONDS)
    empty = [out for out in outs or [] if not find_places([out]) or found.get(str(out), ...) == []]
    trainings = [found[str(path)] for path in runs[:SHOWN] if str(path) in found]
    return Status(
        at=time.time(),
        cluster=found.get("Ray"),
        preparations=[seen for place in prepared for seen in found.get(str(place), [])],
        trainings=[*trainings, *found.get("MLflow", [])],
        sweeps=[found[str(path)] for path in sweeps[:SHOWN] if str(path) in found],
        left_out={
            "datasets": len(datasets[SHOWN:]),
            "trainings": len(runs[SHOWN:]),
            "sweeps": len(sweeps[SHOWN:]),
        },
        unreached=[*failed, *(Unreached(str(out), "holds no run, dataset or sweep") for out in empty)],
        stuck=stuck,
    )


def _read_datasets(place: Location) -> list[tuple[str, PreparationProgress]]:
    """How far the dataset there is; on object storage, those right below it as well, where `lia run` makes them."""
    if progress := read_progress(place, seconds=COUNTING_SECONDS):
        return [(str(place), progress)]
    if isinstance(place, Path):
        return []
    below = [place / name for name in sorted(store_at(place).names()) if name.startswith(DATASET)]
    read = [(str(found), read_progress(found, seconds=COUNTING_SECONDS)) for found in below[:SHOWN]]
    return [(name, progress) for name, progress in read if progress]


def newest(folders: Sequence[Path], finished: str, touched: str) -> list[Path]:
    """Those under way first (without the file `finished`), then by the time `touched` changed, the latest first."""

    def order(folder: Path) -> tuple[bool, float]:
        try:
            changed = (folder / touched).stat().st_mtime
        except OSError:
            changed = 0.0
        return (folder / finished).exists(), -changed

    return sorted(folders, key=order)


def ask_all(
    work: Mapping[str, Callable[[], Any]], seconds: float
) -> tuple[dict[str, Any], list[Unreached], bool]:
    """What each call returned, by name; what failed or took longer than all may; whether any goes on still."""
    answers: dict[str, Any] = {}

    def ask(name: str, call: Callable[[], Any]) -> None:
        try:
            answers[name] = call()
        except Exception as error:  # noqa: BLE001 - one source that fails must not hide the others
            answers[name] = error

    threads = {
        name: threading.Thread(target=ask, args=(name, call), daemon=True) for name, call in work.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    answers = dict(answers)  # what still comes is too late
    silent = [name for name in threads if name not in answers]
    found = {name: answer for name, answer in answers.items() if not isinstance(answer, Exception)}
    failed = [explained(name, answers[name]) for name in work if isinstance(answers.get(name), Exception)]
    failed += [Unreached(name, f"did not answer in {seconds:g} s") for name in silent]
    return found, failed, bool(silent)


def explained(name: str, error: Exception) -> Unreached:
    """A failure as one line."""
    if isinstance(error, Unreached):
        return error
    message = without_credentials(last_line(error) or type(error).__name__)
    return Unreached(name, message.removeprefix(f"{name}: "))


def _reading(read: Callable[..., Any], place: Any, **limits: float) -> Callable[[], Any]:
    return lambda: read(place, **limits)


def _load_clients(places: Places) -> None:
    """Import what takes seconds to import, before the sources are given their time."""
    with quiet_mlflow():
        import mlflow  # noqa: F401
    if places.sweeps:
        import orchestration.sweep.study  # noqa: F401


def _has_store() -> bool:
    """Whether there may be more in MLflow: a server is named, or this folder has a database."""
    try:
        database = database_path(resolve_tracking_uri())
    except TrackingError:
        return True  # whoever asks it says what is wrong with the address
    return database is None or database.is_file()


def _run_ids(places: Places) -> set[str]:
    """MLflow's runs that have a folder here, of those whose record can be read."""
    found = set()
    for path in places.runs:
        try:
            found.add(str(RunFolder(path).read_json("run.json").get("run_id")))
        except InputError:
            continue
    return found


@contextmanager
def _impatient() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in IMPATIENT}
    os.environ.update(IMPATIENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
