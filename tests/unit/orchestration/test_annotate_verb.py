"""`lia annotate` before any work: what it refuses."""

import pytest

from orchestration.cli import main


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--videos", "none"], "none: no such folder of videos"),
        (["--videos", ".", "--annotate.min_iou", "2"], "annotate.min_iou must be from 0 to 1, got 2.0"),
        (["--videos", ".", "--annotate.out_of_frame", "pad"], "annotate.out_of_frame = 'pad'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(flags, message, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["annotate", *flags, "--out", str(out), "--kind", "face"]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not out.exists()
