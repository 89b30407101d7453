"""One run of ffmpeg within limits: how it ended, and the last it complained of."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import IO

from pipelines.cropping.process_limits import limit_process

COMPLAINT_BYTES = 4096
# Its last words are there as soon as it ended, unless a program that it started outlives it and keeps the pipe.
_LAST_WORDS_S = 1.0
_ROOM_BYTES = 1 << 20


def run_limited(command: Sequence[str], stdout: Path, *, memory_gb: float, seconds: float) -> tuple[int, str]:
    """Return code and the end of what was complained of; subprocess.TimeoutExpired if it took too long."""
    with stdout.open("wb") as file:
        ffmpeg = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, bufsize=0
        )
    tail = bytearray()
    reader = Thread(target=_keep_tail, args=(ffmpeg.stderr, tail), daemon=True)
    reader.start()
    try:
        limit_process(ffmpeg.pid, memory_gb=memory_gb, seconds=seconds)
        # Its end closes the pipe; to wait for the process with a time limit is to look for it every 50 ms.
        began = time.monotonic()
        reader.join(seconds)
        status = ffmpeg.wait(timeout=seconds - (time.monotonic() - began))
    finally:
        ffmpeg.kill()
        ffmpeg.wait()
        reader.join(_LAST_WORDS_S)
    return status, tail.decode(errors="replace")


def require_room(folder: Path) -> None:
    """Raise OSError if the disk under `folder` is full, over its quota or failing: what ffmpeg says is no proof."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_ROOM_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    with stream:
        while chunk := stream.read(COMPLAINT_BYTES):
            tail += chunk
            del tail[:-COMPLAINT_BYTES]
