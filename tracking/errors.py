"""What the tracking package raises: one or two lines naming the store and the remedy."""

import re
from collections.abc import Iterator
from contextlib import contextmanager


class TrackingError(ValueError):
    """The store cannot be reached or refuses what was asked. The command line prints it and exits with 2."""


class RecordRefused(TrackingError):
    """The store is there and will not take this, now or later: a name that MLflow does not allow, for example."""


def without_credentials(uri: str) -> str:
    """The URI as it may be printed and logged: `http://user:secret@host` loses its `user:secret@`."""
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


class AbsentError(TrackingError):
    """The store is there, and has nothing of that name."""


_KINDS = {"INVALID_PARAMETER_VALUE": RecordRefused, "RESOURCE_DOES_NOT_EXIST": AbsentError}


@contextmanager
def naming_store(uri: str, remedy: str = "") -> Iterator[None]:
    """Turn MLflow's, the database's and the file system's exceptions into a TrackingError naming `uri`.

    Where MLflow calls a value invalid it is a RecordRefused, and where it knows of no such thing an AbsentError. Its
    other codes for bad requests prove nothing: a server answers BAD_REQUEST where the connection to its database broke.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        # These messages can run to many lines (SQL statements, a server's stack trace): the first says what.
        what = next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
        message = f"{without_credentials(uri)}: {without_credentials(what).rstrip('.')}"
        kind = _KINDS.get(getattr(error, "error_code", ""), TrackingError)
        raise kind(f"{message}; {remedy}" if remedy else message) from error
