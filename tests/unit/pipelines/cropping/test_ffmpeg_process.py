"""What is kept of a run of ffmpeg, and how it is ended."""

import subprocess
import sys

import pytest

from pipelines.cropping.ffmpeg_process import COMPLAINT_BYTES, run_limited


def test_only_the_end_of_many_complaints_is_kept(tmp_path):
    code = "import sys; sys.stderr.write('x' * 10_000_000 + 'the end'); print('times'); sys.exit(3)"
    status, text = run_limited([sys.executable, "-c", code], tmp_path / "out", memory_gb=4, seconds=60)
    assert (status, len(text), text[-8:]) == (3, COMPLAINT_BYTES, "xthe end")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "times\n"


def test_what_takes_too_long_is_ended(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        run_limited(["sleep", "60"], tmp_path / "out", memory_gb=4, seconds=0.2)


def test_what_outlives_it_is_not_waited_for(tmp_path):
    status, text = run_limited(
        ["sh", "-c", "sleep 5 & echo gone >&2; exit 2"], tmp_path / "out", memory_gb=4, seconds=60
    )
    assert (status, text) == (2, "gone\n")
