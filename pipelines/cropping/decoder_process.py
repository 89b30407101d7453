"""Videos of unknown origin are opened in processes apart: what crashes, hangs or swells there costs one clip.

A decoder that took Ray's worker along would cost the whole shard, and again at each new beginning.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self, cast

from pipelines.corpus.clip_length import WholeClip, measure
from pipelines.corpus.failures import ClipError, Reason, Rejected
from pipelines.corpus.frame_sequence import FrameSequence, damaged_frame, list_sequence, read_sequence
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.process_limits import ATTEMPTS, death, limit_process
from pipelines.cropping.selection import Window
from pipelines.cropping.span_check import SpanVerdict, check_span, skipped_frame
from pipelines.errors import VideoError
from pipelines.media.probe import VideoInfo, probe


class Decoders:
    """As many such processes as are needed at once, each kept for the next video. Threads may share them."""

    def __init__(self, config: PrepareConfig) -> None:
        self._config = config
        self._idle: list[_Decoder] = []
        self._probed: dict[Path, VideoInfo | Rejected] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            self._idle.pop().end()

    def probe(self, video: Path) -> VideoInfo:
        """`probe`, but once a video, whatever it said; raises ClipError."""
        if video not in self._probed:
            self._probed[video] = self._ask(video, "probe_seconds_limit", probe, video)
        return cast(VideoInfo, _accepted(self._probed[video]))

    def measure(self, video: Path) -> WholeClip:
        """`measure`; raises ClipError."""
        return cast(WholeClip, _accepted(self._ask(video, "probe_seconds_limit", measure, video)))

    def list_sequence(self, folder: Path) -> FrameSequence:
        """`list_sequence`; raises ClipError."""
        return cast(FrameSequence, _accepted(self._ask(folder, "probe_seconds_limit", list_sequence, folder)))

    def read_sequence(self, folder: Path) -> FrameSequence:
        """`read_sequence`; raises ClipError."""
        return cast(FrameSequence, _accepted(self._ask(folder, "clip_seconds_limit", read_sequence, folder)))

    def check_span(self, video: Path, stream_index: int, window: Window, seconds: float) -> SpanVerdict:
        """`check_span`, given up after so many of the clip's seconds; raises ClipError."""
        asked = (check_span, video, stream_index, window)
        return cast(SpanVerdict, _accepted(self._ask(video, "clip_seconds_limit", *asked, seconds=seconds)))

    def skipped_frame(
        self, video: Path, stream_index: int, begin: Fraction | None, end: Fraction, seconds: float
    ) -> float | None:
        """`skipped_frame`, given up after so many of the clip's seconds; raises ClipError."""
        asked = (skipped_frame, video, stream_index, begin, end)
        return cast(
            "float | None", _accepted(self._ask(video, "clip_seconds_limit", *asked, seconds=seconds))
        )

    def damaged_frame(self, sequence: FrameSequence, frames: range, seconds: float) -> Path | None:
        """`damaged_frame`, given up after so many of the clip's seconds; raises ClipError."""
        asked = (damaged_frame, sequence, frames)
        found = self._ask(sequence.folder, "clip_seconds_limit", *asked, seconds=seconds)
        return cast("Path | None", _accepted(found))

    def _ask(
        self,
        video: Path,
        limit: str,
        function: Callable[..., Any],
        *arguments: Any,
        seconds: float | None = None,
    ) -> Any:
        """What the function returns in a process apart, or why it could not, within `limit` or what is left of it."""
        allowed: float = getattr(self._config, limit)
        seconds = allowed if seconds is None else seconds
        status = 0
        for _ in range(ATTEMPTS):
            decoder = self._take()
            try:
                answer = decoder.ask(seconds, function, arguments)
            except (EOFError, ConnectionError):
                status = decoder.end()
            except BaseException:
                decoder.end()
                raise
            else:
                self._idle.append(decoder)
                return answer
            if status == -signal.SIGALRM:
                return Rejected("timed_out", f"{video}: decoding took longer than {allowed:g} s ({limit}).")
        return Rejected("crashed_decoder", f"{video}: crashes the decoder ({death(status)}). Re-encode it.")

    def _take(self) -> "_Decoder":
        with suppress(IndexError):
            return self._idle.pop()
        return _Decoder(self._config.decoder_gb_limit)


def _accepted(answer: Any) -> Any:
    """What was answered, if that is not a rejection; else raises ClipError."""
    if isinstance(answer, Rejected):
        raise ClipError(answer.reason, answer.message)
    return answer


class _Decoder:
    """One process, from the side of whoever asks."""

    def __init__(self, memory_gb: float) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        # The workers of a cluster find packages where their driver does, not where a fresh Python looks.
        paths = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        limit_process(self._process.pid, memory_gb=memory_gb)
        self._ready = False

    def ask(self, seconds: float, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """What the function returns or why it failed; EOFError or ConnectionError if the process died."""
        if not self._ready:
            self._await_start()
        self._connection.send((seconds, function, arguments))
        return self._connection.recv()

    def end(self) -> int:
        """End the process, if it has not ended by itself; returns its return code."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._process.kill()
        return self._process.wait()

    def _await_start(self) -> None:
        try:
            self._ready = self._connection.recv()
        except EOFError:
            if (status := self._process.wait()) > 0:
                raise RuntimeError(
                    f"{sys.executable} -m {__name__} does not start ({death(status)}); its message is in the log"
                ) from None
            raise


def serve(connection: Connection) -> None:
    """The process's own side: answer until the other side is gone."""
    # Python cannot interrupt a decoder, the system can. No handler: the signal's own effect is to end the process.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    with suppress(EOFError, ConnectionError):
        connection.send(True)
        while True:
            seconds, function, arguments = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, seconds)
            answer = _answer(function, arguments)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(answer)


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except ClipError as error:
        return error.rejected
    except VideoError as error:
        return Rejected(cast(Reason, error.reason), str(error))
    except OSError as error:
        return Rejected("unreadable", f"{error.filename or arguments[0]}: cannot be read ({error.strerror}).")
    except MemoryError:
        return Rejected(
            "crashed_decoder", f"{arguments[0]}: decoding it needs more memory than decoder_gb_limit."
        )
    except Exception as error:  # noqa: BLE001 - whatever a file brings about, it is that file's failure
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        return Rejected("crashed_decoder", f"{arguments[0]}: crashes the decoder ({what}). Re-encode it.")


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
