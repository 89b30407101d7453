"""A SQLite store made once: MLflow takes a second or two to create its tables."""

import pytest


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The address of an empty store."""
    from tracking.store import connect

    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    connect(uri)
    return uri
