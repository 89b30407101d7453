"""Runs to write to."""

import pytest

from tracking.run import Run


@pytest.fixture
def run(store):
    """A fresh run in that store."""
    return Run.start("tests", tracking_uri=store)
