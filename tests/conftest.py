"""Settings for all tests."""

import os

# Two threads a process on two cores, times several processes, spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
