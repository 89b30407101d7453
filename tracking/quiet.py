"""MLflow without its remarks: what goes wrong comes as an exception, the rest is no news to whoever runs this."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    # MLflow's tables use a loader that SQLAlchemy 2.1 deprecates.
    ("The ``noload`` loader strategy", DeprecationWarning),
    # MLflow warns of its own classes' type hints when it is imported.
    (".*Any type hint is inferred as AnyType", UserWarning),
    # MLflow compares column names with a range, which pandas 3 deprecates.
    ("Operation with range is deprecated", DeprecationWarning),
)


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Inside the block MLflow logs errors only, and the warnings that it causes itself are ignored."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message, category in _WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
