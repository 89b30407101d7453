"""How far a run is: on a terminal one line written over in place, in a log a new line now and then."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

POLL_SECONDS = 0.5
LOG_SECONDS = 30.0
"""How often a log gets a line."""
WORDS = "{n_fmt}/{total_fmt}{unit}{postfix}, {rate_noinv_fmt}, {remaining} left"

Counts = Callable[[], Counter[str] | None]
"""Clips (or videos) done so far by their reason of failure, sound ones under ""; None where nobody knows."""


@contextmanager
def progress_line(
    counts: Counts,
    begin: Counter[str],
    total: int,
    stream: TextIO | None,
    *,
    name: str = "prepare",
    unit: str = "clips",
    beside: Callable[[], str] = str,
) -> Iterator[None]:
    """Show on `stream` how many of `total` clips are done, by `counts`, until the block ends.

    `begin` are the clips that were done before; the rate is that of the others, over all the time so far. `beside` says
    what else is known. Without a stream nothing is shown.
    """
    over = threading.Event()
    with _line(begin, total, stream, name, unit) as line:

        def update() -> bool:
            found = counts()
            if found is not None:
                known = ", ".join(filter(None, (_failed(found), beside())))
                line.set_postfix_str(known, refresh=False)
                line.update(found.total() - line.n)
            return found is not None

        def follow() -> None:
            while not over.wait(POLL_SECONDS) and update():
                pass

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            over.set()
            follower.join()
            update()
            line.refresh()


class _LogLine(tqdm):  # type: ignore[misc]
    """tqdm's figures without its carriage returns."""

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if msg is None:
            self.fp.write(f"{self}\n")
            self.fp.flush()
        return False


def _line(begin: Counter[str], total: int, stream: TextIO | None, name: str, unit: str) -> tqdm:
    # Time left by the mean rate (smoothing 0): clips end in bursts, and tqdm's moving mean leaves out the pauses.
    common = {
        "total": total,
        "initial": begin.total(),
        "postfix": _failed(begin),
        "desc": name,
        "unit": f" {unit}",
        "smoothing": 0,
        "miniters": 0,
    }
    if stream is None or _is_screen(stream):
        words = "{desc} {percentage:3.0f}%|{bar}| " + WORDS
        return tqdm(bar_format=words, file=stream, disable=stream is None, dynamic_ncols=True, **common)
    words = "{desc} {percentage:3.0f}%: " + WORDS
    return _LogLine(bar_format=words, file=stream, mininterval=LOG_SECONDS, leave=False, **common)


def _is_screen(stream: TextIO) -> bool:
    """Whether it is a terminal with a size; tqdm shows nothing on those without, as some remote shells have."""
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except OSError:
        return False


def _failed(counts: Counter[str]) -> str:
    return f"{counts.total() - counts['']} failed"
