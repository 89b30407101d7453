"""Settings for all tests."""

import os
import resource
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no reason to fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# Two threads a process on two cores, times several processes, spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers yield to everything else (niceness 15); beside two other test processes they would hardly get on.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture
def little_memory():
    """Let this process take a gigabyte more than it has, and no more."""
    try:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except FileNotFoundError:
        pytest.skip("limits on memory are Linux's")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 10**9, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
