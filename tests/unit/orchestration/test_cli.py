"""Mistakes on the command line: one line that names what is wrong, exit status 2, nothing written."""

import argparse
import subprocess
import sys

import pytest

from orchestration.cli import main
from orchestration.cli.experiment_flags import add_experiment_arguments, resolve_experiment
from orchestration.cli.main import explain
from orchestration.cli.verbs import VERBS
from pipelines.errors import InputError, TooManyFailuresError


def run(*argv: str) -> int:
    try:
        return main(argv)
    except SystemExit as stopped:  # argparse's own way out
        return int(stopped.code or 0)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param(["walk"], ["walk", "train"], id="unknown-verb"),
        pytest.param(["train"], ["--out"], id="missing-flag"),
        pytest.param(["train", "vox", "--data", "d", "--out", "o"], ["'vox'", "vox256"], id="unknown-recipe"),
        pytest.param(["train", "demo", "--out", "o"], ["--data"], id="no-data"),
        pytest.param(["train", "--data", "d", "--out", "o"], ["recipe"], id="no-recipe"),
        pytest.param(
            ["train", "demo", "--config", "c", "--data", "d", "--out", "o"], ["not both"], id="both"
        ),
        pytest.param(["train", "demo", "--data", "nowhere", "--out", "o"], ["nowhere"], id="no-such-dataset"),
        pytest.param(
            ["train", "--resume", "--out", "nowhere"], ["nowhere", "run.json"], id="nothing-to-resume"
        ),
        pytest.param(["train", "demo", "--resume", "--out", "o"], ["--resume"], id="resume-with-recipe"),
        pytest.param(
            ["train", "--resume", "--init", "m", "--out", "o"], ["--resume"], id="resume-with-initial-model"
        ),
        pytest.param(
            ["train", "demo", "--data", "d", "--out", "o", "--schedule.steps", "0"],
            ["schedule.steps", "0"],
            id="refused-field",
        ),
        pytest.param(
            ["train", "demo", "--data", "d", "--out", "o", "--stop-after", "0"], ["--stop-after"], id="stop"
        ),
        pytest.param(["evaluate", "--model", "nowhere", "--data", "d"], ["d"], id="evaluate-nothing"),
        pytest.param(
            ["animate", "--model", "nowhere", "--source", "s", "--driving", "d", "--out", "o.mp4"],
            ["nowhere"],
            id="no-such-model",
        ),
        pytest.param(
            ["animate", "--model", "m", "--source", "s", "--driving", "d", "--out", "o.gif"],
            ["o.gif", "mp4"],
            id="gif",
        ),
        pytest.param(["compare", "a", "--out", "o"], ["a: name two"], id="compare-one"),
        pytest.param(["compare", "a", "b", "--out", "o"], ["a: there is no such run"], id="compare-nothing"),
        *(
            pytest.param(
                ["animate", "--model", "m", "--source", "s", "--driving", "d", "--out", "o.mp4", *flags],
                words,
                id=f"animate{''.join(flags)}",
            )
            for flags, words in [
                (["--start", "best"], ["--start best", "--mode relative"]),
                (["--box", "1,2,3,4"], ["--box", "--paste-back"]),
                (["--subject", "body"], ["--subject", "--paste-back"]),
                (["--paste-back", "--driving-box", "1,2,3,4"], ["--driving-box", "--box"]),
                (["--paste-back", "--box", "1,2,3,4", "--subject", "face"], ["--subject", "--box"]),
                (["--paste-back", "--fit", "stretch"], ["--fit stretch", "without --driving-box"]),
                (
                    ["--paste-back", "--box", "1,2,3,4", "--driving-box", "1,2,3,4", "--fit", "crop"],
                    ["--fit crop", "without --driving-box"],
                ),
                (["--paste-back", "--box", "1,2,3"], ["--box", "'1,2,3'", "left,top,right,bottom"]),
                (["--paste-back", "--box", "1,2,3,nan"], ["--box", "'1,2,3,nan'", "whole pixels"]),
                (["--paste-back", "--box", "1,2,1,4"], ["--box", "'1,2,1,4'", "no pixel"]),
                (["--paste-back", "--box=-1,2,3,1"], ["--box", "'-1,2,3,1'", "no pixel"]),
            ]
        ),
        pytest.param(["convert", "nowhere.pt", "--out", "o"], ["nowhere.pt"], id="no-such-checkpoint"),
        pytest.param(["fetch", "nothing.bin"], ["nothing.bin"], id="no-such-asset"),
        pytest.param(
            ["prepare", "--dataset", "vox", "--metadata", "m.csv", "--videos", "v", "--out", "o"],
            ["v"],
            id="no-videos",
        ),
        pytest.param(
            [
                "prepare",
                "--dataset",
                "vox",
                "--metadata",
                "m",
                "--videos",
                "v",
                "--out",
                "o",
                "--prepare.siez",
                "64",
            ],
            [
                "lia prepare: there is no flag --prepare.siez; did you mean --prepare.size?",
                "lia prepare --help",
            ],
            id="misspelt-flag",
        ),
        pytest.param(
            ["train", "demo", "more", "--data", "d", "--out", "o"],
            ["more: one word too many"],
            id="superfluous-word",
        ),
        pytest.param(
            ["prepare", "--dataset", "vox", "--videos", "v", "--out", "o"],
            ["--metadata", "vox"],
            id="no-metadata",
        ),
        pytest.param(
            ["prepare", "--dataset", "clips", "--metadata", "m.csv", "--videos", "v", "--out", "o"],
            ["--metadata", "m.csv", "clips"],
            id="superfluous-metadata",
        ),
        pytest.param(
            ["prepare", "--dataset", "clips", "--fps", "30", "--videos", "v", "--out", "o"],
            ["--fps", "30", "clips"],
            id="superfluous-rate",
        ),
        pytest.param(
            [
                "run",
                "demo",
                "--dataset",
                "vox",
                "--metadata",
                "m",
                "--videos",
                "v",
                "--max-failure-rate",
                "5",
            ],
            ["--max-failure-rate", "5", "0 to 1"],
            id="no-rate",
        ),
        pytest.param(
            [
                "run",
                "demo",
                "--dataset",
                "ted",
                "--metadata",
                "m",
                "--test-fraction",
                "0",
                "--videos",
                "v",
                "--out",
                "o",
            ],
            ["--test-fraction", "ted"],
            id="superfluous-fraction",
        ),
        pytest.param(
            ["prepare", "--dataset", "frames", "--videos", "nowhere", "--out", "o"],
            ["nowhere"],
            id="no-frames",
        ),
        pytest.param(
            ["run", "demo", "--dataset", "clips", "--videos", "v", "--out", "o"], ["v"], id="no-clips"
        ),
        pytest.param(["status", "--watch", "0"], ["--watch", "'0'", "1 or more"], id="watch-all-the-time"),
        pytest.param(
            ["status", "--out", "s3://k:hush@b/p"], ["--out", "password"], id="status-with-a-secret"
        ),
        pytest.param(["export", "nowhere", "--out", "o"], ["nowhere", "lia prepare"], id="export-nothing"),
    ],
)
def test_a_mistake_is_one_line_with_status_2_and_writes_nothing(argv, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*argv) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("lia")
    assert all(word in message for word in words)
    assert message.count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_verbose_shows_the_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("convert", "nowhere.pt", "--out", "o", "-v") == 2
    assert "Traceback" in capsys.readouterr().err


def test_flags_replace_fields_of_a_recipe():
    parser = argparse.ArgumentParser()
    add_experiment_arguments(parser)
    experiment = resolve_experiment(
        parser.parse_args(["demo", "--optimiser.lr", "1e-4", "--data.flip", "true"])
    )
    assert (experiment.name, experiment.optimiser.lr, experiment.data.flip) == ("lia-demo", 1e-4, True)


def test_a_saved_configuration_is_replayed(tmp_path):
    from orchestration import configuration
    from orchestration.recipes import demo

    configuration.save(demo(), tmp_path / "config.json")
    parser = argparse.ArgumentParser()
    add_experiment_arguments(parser)
    assert resolve_experiment(parser.parse_args(["--config", str(tmp_path / "config.json")])) == demo()


def test_exit_statuses():
    assert explain(InputError("x")) == (2, "x")
    assert explain(TooManyFailuresError("x")) == (1, "x")
    assert explain(PermissionError(13, "Permission denied", "/root/x"))[0] == 1
    status, message = explain(KeyError("boom"))
    assert status == 1
    assert "-v" in message


@pytest.mark.parametrize("verb", ["", *(verb.NAME for verb in VERBS)])
def test_help_loads_nothing_heavy(verb):
    """Half a second is the promise; what breaks it is an import, and that is what is tested."""
    heavy = ("torch", "ray", "mlflow", "numpy", "pyarrow", "av", "pydantic")
    code = (
        "import sys\nfrom orchestration.cli import main\n"
        f"try:\n    main({[*([verb] if verb else []), '--help']!r})\nexcept SystemExit: pass\n"
        f"sys.exit(str([m for m in {heavy!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "usage: " in done.stdout
