"""Videos opened in a process apart: what it answers, and what is said when it dies, hangs or swells."""

import signal
from pathlib import Path

import pytest

from pipelines.corpus.failures import ClipError
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.decoder_process import Decoders
from pipelines.cropping.process_limits import death
from pipelines.cropping.selection import window_of
from pipelines.cropping.span_check import check_span
from pipelines.media.probe import probe
from tests.coded_video import FPS_25, write_coded


@pytest.fixture
def video(tmp_path):
    return write_coded(tmp_path / "v.mp4", 20, FPS_25)


@pytest.fixture
def sitecustomize(tmp_path, monkeypatch):
    """Give code that every decoder process runs at its start."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda code: (tmp_path / "sitecustomize.py").write_text(code)


def failure(path: Path, **limits: float):
    with Decoders(PrepareConfig(**limits)) as decoders, pytest.raises(ClipError) as error:
        decoders.probe(path)
    return error.value.rejected


def test_answers_are_those_of_the_functions(video):
    with Decoders(PrepareConfig()) as decoders:
        info = decoders.probe(video)
        assert info == probe(video)
        window = window_of(range(5, 30), info)
        assert decoders.check_span(video, 0, window, 60.0) == check_span(video, 0, window)


def test_what_a_file_is_refused_for_comes_back(tmp_path):
    rejected = failure(tmp_path / "gone.mp4")
    assert (rejected.reason, str(tmp_path / "gone.mp4") in rejected.message) == ("missing_video", True)


def test_a_process_killed_from_outside_is_replaced(video, sitecustomize, tmp_path):
    """The first process that opens a video is killed; the second finds that one was."""
    mark = tmp_path / "killed"
    sitecustomize(
        f"import av, os\nfirst = av.open\ndef opened(*a, **k):\n"
        f"    if not os.path.exists({str(mark)!r}):\n        open({str(mark)!r}, 'w').close()\n"
        f"        os.kill(os.getpid(), {int(signal.SIGKILL)})\n    return first(*a, **k)\nav.open = opened\n"
    )
    with Decoders(PrepareConfig()) as decoders:
        assert decoders.probe(video) == probe(video)
    assert mark.exists()


@pytest.mark.parametrize(
    ("suffering", "reason", "words"),
    [
        ("os.kill(os.getpid(), 11)", "crashed_decoder", "SIGSEGV"),
        ("os.abort()", "crashed_decoder", "SIGABRT"),
        ("os._exit(3)", "crashed_decoder", "exit status 3"),
        ("[bytearray(1 << 28) for _ in range(64)]", "crashed_decoder", "decoder_gb_limit"),
        (
            "raise AssertionError('unforeseen\\nindeed')",
            "crashed_decoder",
            "AssertionError: unforeseen indeed",
        ),
        ("raise PermissionError(13, 'Permission denied')", "unreadable", "Permission denied"),
        ("time.sleep(60)", "timed_out", "0.5 s (probe_seconds_limit)"),
    ],
)
def test_suffering_is_one_failure_with_its_cause(video, sitecustomize, suffering, reason, words):
    sitecustomize(f"import av, os, time\ndef opened(*a, **k):\n    {suffering}\nav.open = opened\n")
    rejected = failure(video, decoder_gb_limit=1.0, probe_seconds_limit=0.5 if "sleep" in suffering else 60)
    assert rejected.reason == reason
    assert words in rejected.message
    assert str(video) in rejected.message
    assert "\n" not in rejected.message


def test_a_file_that_hangs_the_decoder_is_given_up_once(tmp_path):
    path = write_coded(tmp_path / "v.mkv", 20, FPS_25)
    # A Matroska header, and a terabyte of nothing in which libav looks for the next element.
    with path.open("r+b") as file:
        file.truncate(600)
        file.truncate(1 << 40)
    with Decoders(PrepareConfig(probe_seconds_limit=1.0)) as decoders:
        for _ in range(50):
            with pytest.raises(ClipError, match="probe_seconds_limit"):
                decoders.probe(path)


def test_a_python_that_does_not_start_is_no_videos_fault(video, sitecustomize):
    sitecustomize("import os\nos._exit(7)\n")
    with Decoders(PrepareConfig()) as decoders, pytest.raises(RuntimeError, match="does not start"):
        decoders.probe(video)


def test_deaths_are_named():
    assert death(-signal.SIGSEGV) == "SIGSEGV"
    assert death(-signal.SIGKILL) == "SIGKILL: out of memory?"
    assert death(3) == "exit status 3"
    assert death(-200) == "signal 200"
