"""Bounds on a process that decodes a file of unknown origin, and what its death says."""

import resource
import signal
from contextlib import suppress

# A process may be killed by what is no fault of its video: an operator, or the system when another one swells.
ATTEMPTS = 3
# Decoding may use more than one core; this limit only ends what an abandoned process would do for ever.
CPU_SECONDS_A_SECOND = 4


def limit_process(pid: int, *, memory_gb: float, seconds: float | None = None) -> None:
    """Bound a child's memory (10^9 bytes of address space) and, as a backstop, its processor time.

    A limit on wall-clock `seconds` is for the parent to keep, but the parent may be killed. Where the system has
    no such call (macOS) memory stays unbounded.
    """
    if not hasattr(resource, "prlimit"):
        return
    memory = int(memory_gb * 1e9)
    with suppress(ProcessLookupError):  # it is over already
        resource.prlimit(pid, resource.RLIMIT_AS, (memory, memory))
        if seconds is not None:
            most = int(seconds * CPU_SECONDS_A_SECOND) + 1
            resource.prlimit(pid, resource.RLIMIT_CPU, (most, most))


def death(status: int) -> str:
    """How a process ended, by its return code: `SIGSEGV` or `exit status 1`."""
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        name = signal.Signals(-status).name
        return f"{name}: out of memory?" if -status == signal.SIGKILL else name
    return f"signal {-status}"
