"""A SQLite store made once: MLflow takes a second or two to create its tables."""

import pytest

from tracking.run import Run
from tracking.store import connect


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The address of an empty store."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    connect(uri)
    return uri


@pytest.fixture
def run(store):
    """A fresh run in that store."""
    return Run.start("tests", tracking_uri=store)
