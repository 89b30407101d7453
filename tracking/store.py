"""Where runs are recorded: MLFLOW_TRACKING_URI, or a SQLite file in the working directory.

Ray workers run in other working directories, so a relative location would mean another store there: every
location that leaves this module is absolute, and the driver hands the resolved URI to its workers.
"""

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tracking.errors import TrackingError, naming_store, without_credentials
from tracking.quiet import quiet_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE_NAME = "mlflow.db"
ARTIFACTS_NAME = "mlartifacts"
ANSWER_SECONDS = 5.0
"""How long a tracking server may take to answer when a run starts. (Later requests keep MLflow's own patience
of minutes: a server that restarts must not end a training run.)"""

_SQLITE = "sqlite:///"
_SQLITE_MAGIC = b"SQLite format 3\0"
_PROXY_FAILURES = (502, 503, 504)
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_REMEDY = f"correct MLFLOW_TRACKING_URI, or unset it to record into ./{DATABASE_NAME}."


def resolve_tracking_uri(uri: str | None = None) -> str:
    """The store to use, made absolute: `uri`, else MLFLOW_TRACKING_URI, else `mlflow.db` in this folder."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{DATABASE_NAME}"
    if uri.startswith(_SQLITE):
        path = Path(uri.removeprefix(_SQLITE)).expanduser().absolute()
        if "%" in str(path) or "?" in str(path):
            # SQLAlchemy 2.0 and 2.1 disagree on what they mean in a path, and MLflow differs from both.
            raise TrackingError(
                f"{path}: a store's path cannot hold % or ?. Set MLFLOW_TRACKING_URI to another."
            )
        return f"{_SQLITE}{path}"
    if "://" in uri or uri.startswith(("databricks", "file:")):
        return uri
    raise TrackingError(
        f"MLFLOW_TRACKING_URI={uri}: not the address of a store. Use sqlite:///PATH/mlflow.db or http://HOST:5000."
    )


def restore_credentials(uri: str) -> str:
    """The address as MLFLOW_TRACKING_URI gives it, where that is `uri` but for a user name and password.

    What is written to disk has gone through `without_credentials`; the password stays in the environment.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    return given if without_credentials(given) == uri else uri


def database_path(tracking_uri: str) -> Path | None:
    """The file of a SQLite store, None for every other store."""
    return Path(tracking_uri.removeprefix(_SQLITE)) if tracking_uri.startswith(_SQLITE) else None


def experiment_artifacts(tracking_uri: str, experiment: str) -> str | None:
    """The folder for an experiment's artefacts: beside a SQLite store; None where a server chooses it.

    Experiment names are free text; the folder's name keeps what is harmless in a path, and tells two names
    apart by a digest when something had to go.
    """
    database = database_path(tracking_uri)
    if database is None:
        return None
    folder = re.sub(r"[^A-Za-z0-9_-]+", "-", experiment).strip("-")
    if folder != experiment:
        folder = f"{folder}-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}".lstrip("-")
    return (database.parent / ARTIFACTS_NAME / folder).as_uri()


def connect(tracking_uri: str, *, create: bool = True) -> "MlflowClient":
    """A client of this one store, without touching MLflow's process-wide tracking URI or active run.

    Creates a SQLite store that does not exist yet, unless `create` is false: whoever only reads must not leave an
    empty store behind. Raises TrackingError within seconds when there is none, a server does not answer or a
    database cannot be opened.
    """
    with quiet_mlflow():
        from mlflow import MlflowClient

    database = database_path(tracking_uri)
    if database is not None and not create and not database.is_file():
        raise TrackingError(
            f"{database}: there is no MLflow store. Run this in the folder that has one, or set MLFLOW_TRACKING_URI."
        )
    if tracking_uri.startswith(("http://", "https://")):
        _require_answer(tracking_uri)
    elif database is not None:
        _require_sqlite(database)
    else:
        _require_listener(tracking_uri)
    with naming_store(tracking_uri, _REMEDY), _only_creator(database), quiet_mlflow():
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def page_command(tracking_uri: str) -> str:
    """What to type (or, for a server, open) to see the store in a browser."""
    if tracking_uri.startswith(("http://", "https://")):
        return without_credentials(tracking_uri)
    beside_python = Path(sys.executable).with_name("mlflow")
    on_path = shutil.which("mlflow")
    program = "mlflow" if on_path and Path(on_path) == beside_python else _relative_if_below(beside_python)
    return f"{shlex.quote(program)} ui --backend-store-uri {shlex.quote(tracking_uri)} --port 5000"


def _relative_if_below(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _require_answer(tracking_uri: str) -> None:
    """Ask the server for its health once: any answer of its own, even a refusal, shows that it is there."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    credentials = get_default_host_creds(tracking_uri)
    try:
        answer = http_request(
            credentials, "/health", "GET", max_retries=0, timeout=ANSWER_SECONDS, raise_on_status=False
        )
    except MlflowException as error:
        raise _no_answer(tracking_uri) from error
    if answer.status_code in _PROXY_FAILURES:
        raise _no_answer(tracking_uri)


def _require_listener(tracking_uri: str) -> None:
    """Open and close a connection to a database server: MLflow itself would try for more than a minute."""
    address = urlsplit(tracking_uri)
    port = address.port or _DATABASE_PORTS.get(address.scheme.partition("+")[0])
    if address.hostname is None or port is None:
        return
    try:
        socket.create_connection((address.hostname, port), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise _no_answer(tracking_uri) from error


def _no_answer(tracking_uri: str) -> TrackingError:
    return TrackingError(
        f"{without_credentials(tracking_uri)}: the server does not answer. Start it, {_REMEDY}"
    )


def _require_sqlite(database: Path) -> None:
    """Refuse a file of another kind before anything is written beside it."""
    if not database.is_file() or database.stat().st_size == 0:
        return
    with database.open("rb") as file:
        if file.read(len(_SQLITE_MAGIC)) != _SQLITE_MAGIC:
            raise TrackingError(f"{database}: not a SQLite database; {_REMEDY}")


@contextmanager
def _only_creator(database: Path | None) -> Iterator[None]:
    """Hold the database's lock file: MLflow creates its tables unguarded, and two creators would collide."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes
        yield
