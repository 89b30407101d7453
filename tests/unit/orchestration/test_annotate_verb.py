"""`lia annotate` before any work: what it refuses, and how a detector is named."""

import pytest

from orchestration.cli import main
from orchestration.cli.verbs.annotate import detector_name


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


def test_other_weights_are_another_detector(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    name = detector_name("face", {"w": tmp_path / "a"})
    assert name.startswith("face ")
    assert name == detector_name("face", {"w": tmp_path / "a"})
    assert name != detector_name("face", {"w": tmp_path / "b"})
