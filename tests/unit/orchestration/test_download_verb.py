"""Mistakes on `lia download`'s command line: a line that names what is wrong, exit status 2, nothing written."""

import json
from dataclasses import asdict

import pytest

from orchestration.cli import main
from pipelines.download.ledger import NAME, Record
from pipelines.download.source import Source

HEADER = "video_id,start,end,bbox,fps,width,height,partition"


@pytest.fixture
def metadata(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text(f"{HEADER}\na,0,40,0-0-160-96,25,160,96,train\n")
    return path


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--height", "3"], ["height", "3"], id="height"),
        pytest.param(["--concurrency", "many"], ["concurrency", "'many'"], id="no-number"),
        pytest.param(["--per-minute", "-1"], ["per_minute", "-1"], id="rate"),
        pytest.param(["--url-template", "https://mirror/a"], ["--url-template", "{video_id}"], id="no-place"),
        pytest.param(["--url-template", "videos/{video_id}"], ["--url-template", "http"], id="no-address"),
        pytest.param(["--proxy", "proxy"], ["--proxy", "SCHEME"], id="proxy"),
        pytest.param(["--cookies", "none.txt"], ["none.txt", "cookies"], id="no-cookies"),
        pytest.param(["--metadata", "none.csv"], ["none.csv"], id="no-metadata"),
        pytest.param(["--videos", "none/videos"], ["none/videos", "Make it first"], id="no-folder"),
        pytest.param(["--videos", "metadata.csv"], ["metadata.csv", "cannot be made"], id="a-file"),
    ],
)
def test_one_line_and_nothing_written(metadata, tmp_path, capsys, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    argv = ["download", "--dataset", "taichi", "--metadata", str(metadata), "--videos", "videos", *flags]
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert all(word in shown.err for word in words)
    assert list(tmp_path.iterdir()) == [metadata]


def test_hostile_ids_are_refused_with_their_line(metadata, tmp_path, capsys):
    metadata.write_text(f"{HEADER}\n../../etc/a,0,40,0-0-160-96,25,160,96,train\n")
    argv = [
        "download",
        "--dataset",
        "taichi",
        "--metadata",
        str(metadata),
        "--videos",
        str(tmp_path / "videos"),
    ]
    assert main(argv) == 2
    assert "line 2: video_id = '../../etc/a'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [metadata]


def test_all_videos_dead_is_a_failure_as_the_help_says(metadata, tmp_path, capsys):
    ledger = tmp_path / "videos" / NAME
    ledger.parent.mkdir()
    record = Record(video_id="a", url=Source().public_url("a"), outcome="removed")
    ledger.write_text(json.dumps(asdict(record)) + "\n")
    argv = ["download", "--dataset", "taichi", "--metadata", str(metadata), "--videos", str(ledger.parent)]
    assert main(argv) == 1
    with pytest.raises(SystemExit):
        main(["download", "--help"])
    assert "or all are dead" in " ".join(capsys.readouterr().out.split())
