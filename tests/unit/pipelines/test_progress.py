import io
import os
import re
import select
import termios
from collections import Counter
from contextlib import contextmanager, suppress

from pipelines import progress
from pipelines.progress import progress_line


@contextmanager
def terminal(columns):
    """A stream to a terminal of 40 lines, and a function that tells what was written to it."""
    reader, writer = os.openpty()
    termios.tcsetwinsize(writer, (40, columns))
    with os.fdopen(reader, "rb", buffering=0) as screen, os.fdopen(writer, "w") as stream:

        def written():
            text = b""
            while select.select([screen], [], [], 0.5)[0]:  # it comes in pieces, and not at once
                text += screen.read(100_000)
            return text.decode()

        yield stream, written


def shown(stream, counts, begin=None, total=20):
    with progress_line(counts, begin or Counter(), total, stream):
        pass
    return stream.getvalue()


def test_a_log_gets_lines_with_counts_failures_rate_and_time_left():
    text = shown(io.StringIO(), lambda: Counter({"": 9, "damaged": 2, "missing_video": 1}))
    assert "\r" not in text
    first, last = text.splitlines()
    assert first == "prepare   0%: 0/20 clips, 0 failed, ? clips/s, ? left"
    assert re.fullmatch(r"prepare  60%: 12/20 clips, 3 failed, +[\d.]+ clips/s, \d\d:\d\d left", last)


def test_a_terminal_gets_one_line_written_over():
    with terminal(100) as (stream, written):
        with progress_line(lambda: Counter({"": 18, "damaged": 2}), Counter(), 20, stream):
            pass
        text = written()
    assert text.startswith("\rprepare   0%|")
    assert text.count("\n") == 1
    last = text.rstrip().rpartition("\r")[2]
    assert re.fullmatch(r"prepare 100%\|.*\| 20/20 clips, 2 failed, +[\d.]+ clips/s, 00:00 left", last)
    assert len(last) <= 100


def test_a_terminal_without_a_size_is_a_log():
    with terminal(0) as (stream, written):
        with progress_line(lambda: Counter({"": 20}), Counter(), 20, stream):
            pass
        assert "\nprepare 100%: 20/20 clips, 0 failed" in written()


def test_what_was_done_before_counts_but_not_as_work_of_this_run():
    begin = Counter({"": 10, "damaged": 2})
    first, last = shown(io.StringIO(), lambda: begin, begin).splitlines()
    assert first == last == "prepare  60%: 12/20 clips, 2 failed, ? clips/s, ? left"


def test_counts_that_nobody_knows_leave_the_last_ones():
    text = shown(io.StringIO(), lambda: None, Counter({"": 5}))
    assert text.splitlines()[-1].startswith("prepare  25%: 5/20 clips, 0 failed")


def test_an_interrupted_run_says_how_far_it_came(monkeypatch):
    monkeypatch.setattr(progress, "POLL_SECONDS", 0)
    stream, asked = io.StringIO(), Counter()

    def counts():
        asked["times"] += 1
        return Counter({"": 7})

    with suppress(KeyboardInterrupt), progress_line(counts, Counter(), 20, stream):
        while not asked["times"]:
            pass
        raise KeyboardInterrupt
    assert "7/20 clips" in stream.getvalue().splitlines()[-1]


def test_another_run_names_itself_and_what_else_is_known():
    stream = io.StringIO()
    more = {"name": "annotate", "unit": "videos", "beside": lambda: "8 clips"}
    with progress_line(lambda: Counter({"": 3, "unreadable": 1}), Counter(), 4, stream, **more):
        pass
    line = stream.getvalue().splitlines()[-1]
    assert line.startswith("annotate 100%: 4/4 videos, 1 failed, 8 clips, ")


def test_without_a_stream_nothing_is_shown(capsys):
    with progress_line(lambda: Counter({"": 3}), Counter(), 3, None):
        pass
    assert capsys.readouterr() == ("", "")
