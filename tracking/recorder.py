"""Metrics and pictures of a training run on their way to MLflow: training neither waits for the store nor loses by it.

They go into a folder first, in order; a thread sends them from there. While the store is away they stay, also when this
process is killed: the next recorder of the same folder sends them before its own. What was sent and could not be
crossed out is sent again, which changes nothing: it is the same number at the same step and time. A step's numbers that
the store refuses would be refused for ever: they are set aside in a file of their own, and the rest goes on.
"""

import json
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from PIL import Image

from tracking.errors import RecordRefused, TrackingError
from tracking.run import Latest, Run

SEND_SECONDS = 5.0
"""Records wait this long for company; after a failure the next attempt comes as late."""
CLOSE_SECONDS = 15.0
"""How long the end of training waits for records to be sent."""
METRICS, PICTURES, REFUSED = "metrics.jsonl", "pictures", "refused.jsonl"


class Recorder:
    """What rank 0 records of one run. Methods return at once; OSError if even the folder cannot be written."""

    def __init__(self, folder: Path, run_id: str, tracking_uri: str, say: Callable[[str], None]) -> None:
        """`folder` keeps what is not sent yet, for one process at a time; `say` is told of failures, each once."""
        self.folder = folder
        self._run_id, self._tracking_uri, self._say = run_id, tracking_uri, say
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        self._lines = deque(_whole_lines(folder / METRICS))
        self._file = os.open(folder / METRICS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._rewrite()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._said = ""
        self._run: Run | None = None
        self._thread = threading.Thread(target=self._send_until_closed, daemon=True, name="recorder")
        self._thread.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """One step's numbers."""
        row = {"time": int(time.time() * 1000), "step": step, "metrics": dict(metrics)}
        line = json.dumps(row).encode() + b"\n"
        with self._lock:
            os.write(self._file, line)
            self._lines.append(line)

    def log_image(self, image: Image.Image, name: str) -> None:
        """A picture as the PNG artefact `name`, a path below the run's artefacts."""
        path = self.folder / PICTURES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        image.save(partial, format="PNG")
        partial.rename(path)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what is left, for so long at most; says so if something stays."""
        self._closing.set()
        self._thread.join(seconds)
        if waiting := self.waiting():
            self._say(f"{waiting} records wait in {self.folder}; they are sent when the run goes on")
        elif not self._thread.is_alive():
            os.close(self._file)
            if not (self.folder / REFUSED).exists():
                shutil.rmtree(self.folder, ignore_errors=True)

    def waiting(self) -> int:
        """Records that were not sent yet."""
        with self._lock:
            return len(self._lines) + len(self._pictures())

    def _pictures(self) -> list[Path]:
        return sorted((self.folder / PICTURES).rglob("*.png"))

    def _send_until_closed(self) -> None:
        while True:
            closing = self._closing.is_set()
            try:
                self._send()
                self._said = ""
            except TrackingError as error:
                self._run = None  # whatever it holds back is in the folder, too
                if str(error) != self._said:
                    self._said = str(error)
                    self._say(f"not recorded yet: {error}")
            if closing:
                return
            self._closing.wait(SEND_SECONDS)

    def _send(self) -> None:
        with self._lock:
            lines = list(self._lines)
        pictures = self._pictures()
        if not lines and not pictures:
            return
        if lines:
            self._send_lines(lines)
        for path in pictures:
            folder = path.parent.relative_to(self.folder / PICTURES).as_posix()
            self._attached().log_file(path, None if folder == "." else folder)
            path.unlink()

    def _send_lines(self, lines: list[bytes]) -> None:
        """Send the oldest records, these, and cross them out; where one is refused, each half by itself."""
        try:
            run = self._attached()
            for line in lines:
                row = json.loads(line)
                run.log_metrics(row["metrics"], step=row["step"], at_ms=row["time"])
            run.flush()
        except RecordRefused as error:
            self._run = None  # it holds back what was refused
            self._attached()  # of a deleted run everything is refused: that is no fault of the records
            if len(lines) > 1:
                middle = len(lines) // 2
                self._send_lines(lines[:middle])
                self._send_lines(lines[middle:])
                return
            self._set_aside(lines[0], error)
        with self._lock:
            for _ in lines:
                self._lines.popleft()
            self._rewrite()

    def _attached(self) -> Run:
        """The run, if it can be written to."""
        if self._run is None:
            run = Run.attach(self._run_id, tracking_uri=self._tracking_uri)
            if run.deleted:
                raise TrackingError(f"run {run.run_id} was deleted; `mlflow runs restore` brings it back")
            self._run = run
        return self._run

    def _set_aside(self, line: bytes, why: RecordRefused) -> None:
        path = self.folder / REFUSED
        if not path.exists():
            self._say(f"a record is refused; all that are will be kept in {path}: {why}")
        with path.open("ab") as file:
            file.write(line)

    def _rewrite(self) -> None:
        """Leave in the file what is not sent; whole, whenever the process is killed."""
        if not self._lines:
            os.ftruncate(self._file, 0)
            return
        path = self.folder / METRICS
        partial = path.with_suffix(".partial")
        partial.write_bytes(b"".join(self._lines))
        partial.rename(path)
        os.close(self._file)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)


def unsent_metrics(folder: Path) -> dict[str, Latest]:
    """The last value of each metric that a recorder's folder keeps; empty where nothing waits."""
    latest: dict[str, Latest] = {}
    for line in _whole_lines(folder / METRICS):
        row = json.loads(line)
        latest |= {name: Latest(value, row["step"], row["time"]) for name, value in row["metrics"].items()}
    return latest


def _whole_lines(path: Path) -> list[bytes]:
    """The records in the file; the last one is not whole where a process was killed while it wrote."""
    lines = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines(keepends=True):
            with suppress(ValueError, TypeError, KeyError, RecursionError):
                row = json.loads(line)
                int(row["step"]), int(row["time"]), dict(row["metrics"])
                if line.endswith(b"\n"):
                    lines.append(line)
    return lines
