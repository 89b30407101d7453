"""One MLflow run, addressed by store and id, so that the driver and a Ray worker can write to the same one.

MLflow's fluent functions (`mlflow.log_metric`) act on a process-wide active run, which a worker in another
process does not have. A `Run` carries its client and id instead, and takes only strings to find again:

    with Run.start("lia", name="vox256") as run:           # the driver
        train(tracking_uri=run.tracking_uri, run_id=run.run_id)

    run = Run.attach(run_id, tracking_uri=tracking_uri)    # rank 0
    run.log_metrics({"loss/l1": 0.2}, step=10)
"""

import json
import logging
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from PIL import Image

from tracking.errors import TrackingError, naming_store, without_credentials
from tracking.store import connect, experiment_artifacts, resolve_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]

METRICS_PER_REQUEST = 1000
"""MLflow refuses larger batches."""
FLUSH_SECONDS = 5.0
"""Metrics wait this long for company: a training step is too short for a request of its own."""
PARAM_CHARACTERS = 6000
"""MLflow's limit for a parameter's value."""
TAG_CHARACTERS = 8000
"""MLflow's limit for a tag's value."""


@dataclass(frozen=True)
class Latest:
    """A metric as it was last recorded."""

    value: float
    step: int
    at_ms: int
    """When it was measured, in milliseconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What the store says of a run at one moment."""

    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    started_ms: int
    """When it began, in milliseconds since 1970."""
    ended_ms: int | None
    """When it ended; None while it runs. A run that was resumed may have stood still in between."""
    params: Mapping[str, str]
    """The configuration by dotted name, as `flatten` makes it."""
    tags: Mapping[str, str]
    """Provenance, and MLflow's own."""
    metrics: Mapping[str, Latest] = field(default_factory=dict)
    """The last value of each."""


class Run:
    """A run to write to and read from. Safe to use from several threads; any call may raise TrackingError."""

    def __init__(self, client: "MlflowClient", tracking_uri: str, run_id: str) -> None:
        self.client = client
        self.tracking_uri = tracking_uri
        self.run_id = run_id
        with self._store():
            info = client.get_run(run_id).info
        self.experiment_id: str = info.experiment_id
        self.name: str = info.run_name
        self.deleted: bool = info.lifecycle_stage != "active"
        self._status: str = info.status
        self._pending: list[Metric] = []
        self._nonfinite: set[str] = set()
        self._last_flush = time.monotonic()
        self._lock = threading.RLock()

    @classmethod
    def start(
        cls,
        experiment: str,
        *,
        name: str | None = None,
        tags: Mapping[str, object] | None = None,
        tracking_uri: str | None = None,
    ) -> Self:
        """Create a run in `experiment` (created too if it is new); several processes may do so at once."""
        uri = resolve_tracking_uri(tracking_uri)
        client = connect(uri)
        with naming_store(uri):
            run = client.create_run(_experiment_id(client, uri, experiment), run_name=name)
        started = cls(client, uri, run.info.run_id)
        started.set_tags(tags or {})
        return started

    @classmethod
    def attach(cls, run_id: str, *, tracking_uri: str | None = None) -> Self:
        """The run with this id, as it is: to write from another process, or to read a finished one."""
        uri = resolve_tracking_uri(tracking_uri)
        return cls(connect(uri, create=False), uri, run_id)

    @classmethod
    def resume(cls, run_id: str, *, tracking_uri: str | None = None) -> Self:
        """The run with this id, open again if it had ended: for training that continues from a checkpoint."""
        run = cls.attach(run_id, tracking_uri=tracking_uri)
        if run._status != "RUNNING":
            with run._store():
                run.client.update_run(run_id, status="RUNNING")
            run._status = "RUNNING"
        return run

    # What describes the run.

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Record a resolved configuration: each leaf as a parameter with its dotted path, and config.json.

        Parameters of a run never change: logging the same again is harmless, another value is an error.
        """
        from mlflow.entities import Param

        values = flatten(config)
        params = [Param(key, _shortened(value, PARAM_CHARACTERS)) for key, value in values.items()]
        with self._store():
            self.client.log_batch(self.run_id, params=params)
        self.log_text(json.dumps(config, indent=2, default=str) + "\n", "config.json")

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set or overwrite tags. None is left out: a tag that says "None" would look like a value."""
        from mlflow.entities import RunTag

        shown = [RunTag(k, _shortened(str(v), TAG_CHARACTERS)) for k, v in tags.items() if v is not None]
        with self._store():
            self.client.log_batch(self.run_id, tags=shown)

    # What the run measures.

    def log_metrics(self, metrics: Mapping[str, float], step: int, *, at_ms: int | None = None) -> None:
        """Record one step's numbers. They are sent together: after 5 s, and by `flush`, `history` and `end`.

        `at_ms` is when they were measured, in milliseconds since 1970; now by default.

        MLflow stores an infinity as 1.8e308, which flattens the whole curve: it becomes NaN here, and the tag
        `nonfinite.NAME` keeps the first such value and its step.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000) if at_ms is None else at_ms
        with self._lock:
            for key, value in metrics.items():
                number = float(value)
                if not math.isfinite(number):
                    self._note_nonfinite(key, number, step)
                    number = math.nan
                self._pending.append(Metric(key, number, now, step))
            overdue = time.monotonic() - self._last_flush > FLUSH_SECONDS
            if overdue or len(self._pending) >= METRICS_PER_REQUEST:
                self.flush()

    def flush(self) -> None:
        """Send the metrics that wait. What could not be sent still waits after a TrackingError."""
        with self._lock:
            while self._pending:
                batch = self._pending[:METRICS_PER_REQUEST]
                with self._store():
                    self.client.log_batch(self.run_id, metrics=batch)
                del self._pending[: len(batch)]
            self._last_flush = time.monotonic()

    def history(self, metric: str) -> list[tuple[int, float]]:
        """A metric's (step, value) pairs by step; where a resumed run repeated a step, the later value."""
        self.flush()
        with self._store():
            points = self.client.get_metric_history(self.run_id, metric)
        # The order of equal time stamps is the store's; only the step must be unique.
        by_step = {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}
        return sorted(by_step.items())

    def metric_names(self) -> list[str]:
        """The names of all metrics that were recorded."""
        self.flush()
        with self._store():
            return sorted(self.client.get_run(self.run_id).data.metrics)

    def facts(self) -> RunFacts:
        """Its state, times, parameters and tags, as they are now."""
        with self._store():
            found = self.client.get_run(self.run_id)
        return RunFacts(
            status=found.info.status,
            started_ms=found.info.start_time,
            # The store keeps the end of a run that goes on.
            ended_ms=None if found.info.status == "RUNNING" else found.info.end_time,
            params=dict(found.data.params),
            tags=dict(found.data.tags),
            metrics={
                metric.key: Latest(metric.value, metric.step, metric.timestamp)
                for metric in found.data.to_proto().metrics
            },
        )

    # What the run produces.

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Copy a file into the run's artefacts, below `folder` there."""
        with self._store():
            self.client.log_artifact(self.run_id, str(path), folder)

    def log_folder(self, path: Path, folder: str | None = None) -> None:
        """Copy what a folder holds into the run's artefacts, below `folder` there."""
        with self._store():
            self.client.log_artifacts(self.run_id, str(path), folder)

    def log_text(self, text: str, name: str) -> None:
        """Write a text artefact; `name` may contain folders."""
        with self._as_artifact(name) as path:
            path.write_text(text, encoding="utf-8")

    def log_image(self, image: Image.Image | np.ndarray[Any, np.dtype[np.uint8]], name: str) -> None:
        """Write a picture (PIL, or uint8 of height x width x 3) as a PNG; `name` may contain folders."""
        if not name.endswith(".png"):
            raise TrackingError(f"{name}: pictures are logged as PNG; the name must end in .png")
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        with self._as_artifact(name) as path:
            picture.save(path)

    def list_artifacts(self, folder: str = "") -> list[str]:
        """The paths of files and folders right below a folder of the artefacts; none where there is no such folder."""
        with self._store():
            return sorted(found.path for found in self.client.list_artifacts(self.run_id, folder or None))

    def download(self, name: str, to: Path) -> Path:
        """A copy of an artefact, a file or a folder, below the folder `to`; TrackingError if there is none."""
        with self._store():
            return Path(self.client.download_artifacts(self.run_id, name, str(to)))

    # How the run ends.

    def end(self, status: Status = "FINISHED") -> None:
        """Send what waits and close the run. The first call decides; a resumed run can end again."""
        if self._status != "RUNNING":
            return
        self.flush()
        with self._store():
            self.client.set_terminated(self.run_id, status=status)
        self._status = status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end("FINISHED")
            return
        try:
            self.end("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")
        except TrackingError as secondary:
            # What stopped the run matters more than that its end could not be recorded.
            _log.warning("run %s could not be marked as ended: %s", self.run_id, secondary)

    def _note_nonfinite(self, key: str, value: float, step: int) -> None:
        if key in self._nonfinite:
            return
        with self._store():
            if f"nonfinite.{key}" not in self.client.get_run(self.run_id).data.tags:
                self.client.set_tag(self.run_id, f"nonfinite.{key}", f"{value} at step {step}")
        self._nonfinite.add(key)

    @contextmanager
    def _as_artifact(self, name: str) -> Iterator[Path]:
        """A temporary file to write, which becomes the artefact `name`."""
        target = PurePosixPath(name)
        with tempfile.TemporaryDirectory(prefix="lia-artifact-") as folder:
            path = Path(folder) / target.name
            yield path
            self.log_file(path, str(target.parent) if target.parent != PurePosixPath() else None)

    def _store(self) -> Any:
        return naming_store(self.tracking_uri)


def running(*, tracking_uri: str | None = None, most: int = 20) -> list[str]:
    """Ids of runs in the store that have begun and not ended, the newest first. A killed one may be among them."""
    uri = resolve_tracking_uri(tracking_uri)
    client = connect(uri, create=False)
    with naming_store(uri):
        experiments = [found.experiment_id for found in client.search_experiments()]
        found = client.search_runs(
            experiments,
            "attributes.status = 'RUNNING'",
            max_results=most,
            order_by=["attributes.start_time DESC"],
        )
    return [run.info.run_id for run in found]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one level of dotted names; strings stay as they are, other leaves become JSON."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _shortened(text: str, limit: int) -> str:
    """The text, or its beginning and a note of how much was left out. config.json has the whole."""
    if len(text) <= limit:
        return text
    note = f"... ({len(text)} characters)"
    return text[: limit - len(note)] + note


def _experiment_id(client: "MlflowClient", tracking_uri: str, name: str) -> str:
    """The experiment's id; two processes that both find it missing end up with the same one."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(
                client.create_experiment(name, artifact_location=experiment_artifacts(tracking_uri, name))
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"{without_credentials(tracking_uri)}: experiment {name!r} was deleted. "
            f"Restore it with `mlflow experiments restore`, or choose another name."
        )
    return str(experiment.experiment_id)
