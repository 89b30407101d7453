"""Say so when Ray's own process on this machine dies: Ray would end this one seconds later, from C++, without a word.

Nothing that Python could do at that end is done, so it is done here, before.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

POLL_SECONDS = 0.5
# A signal to the whole group of processes ends the raylet, too: then the run may be about to end in good order. Ray
# itself waits about ten seconds.
GRACE_SECONDS = 2.0
FAILED = 1
MESSAGE = (
    "lia: Ray's process on this machine (raylet) died; it may have been killed for want of memory. "
    "What was finished is kept: the same command goes on from there (`lia train` with --resume)."
)


def end_process() -> None:
    """Say what happened and end this process with exit status 1: without a raylet every call of Ray's may end it."""
    print(f"\n{MESSAGE}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(FAILED)


@contextmanager
def watched(
    raylet: "subprocess.Popen[bytes] | None", on_death: Callable[[], None] = end_process
) -> Iterator[None]:
    """Call `on_death`, in a thread of its own, when `raylet` ends well before the block does; None is not watched."""
    over = threading.Event()

    def watch() -> None:
        while raylet is not None and not over.wait(POLL_SECONDS):
            if raylet.poll() is not None:
                if not over.wait(GRACE_SECONDS):
                    on_death()
                return

    watcher = threading.Thread(target=watch, name="raylet-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def local_raylet() -> "subprocess.Popen[bytes] | None":
    """The raylet that `ray.init` began for this process; None where it joined another's cluster."""
    from ray._private import worker

    started = getattr(worker, "_global_node", None)
    found = started.all_processes.get("raylet", []) if started else []
    return found[0].process if found else None
