"""The command that repeats a command line: what it holds, and that a parser takes it for the same again."""

import shlex
from pathlib import Path

import pytest

from orchestration import configuration
from orchestration.cli.experiment_flags import resolve_experiment
from orchestration.cli.main import build_parser
from orchestration.cli.repeating import experiment_words, pinned_model, repeating_command
from orchestration.recipes import demo, ted256
from orchestration.reproduction import how_to_repeat

CORPUS = ("--dataset", "taichi", "--metadata", "m.csv", "--videos", "raw videos")


def parsed(*words: str):
    return build_parser().parse_args(words)


def repeated(*words: str, **environment: str) -> str:
    args = parsed(*words)
    return repeating_command(args, resolve_experiment(args), environment)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            ("run", "demo", *CORPUS, "--out", "o"), ("run", "demo", *CORPUS, "--out", "o"), id="run"
        ),
        pytest.param(
            ("run", "demo", *CORPUS, "--out", "o", "-v", "--max-failure-rate", "0", "--retry-failed"),
            ("run", "demo", *CORPUS, "--retry-failed", "--max-failure-rate", "0.0", "--out", "o"),
            id="all-flags-but-those-of-this-call",
        ),
        pytest.param(
            ("run", "demo", *CORPUS, "--out", "o", "--optimiser.lr", "0.0040", "--loss.l1_scales", "1,.5"),
            ("run", "demo", "--loss.l1_scales", "1.0,0.5", *CORPUS, "--out", "o"),
            id="fields-that-differ-from-the-recipe",
        ),
        pytest.param(
            ("train", "demo", "--data", "s3://b/d", "--out", "o", "--stop-after", "3", "--data.flip"),
            ("train", "demo", "--data.flip", "true", "--data", "s3://b/d", "--out", "o"),
            id="train",
        ),
        pytest.param(
            ("train", "demo", "--data", "d", "--out", "o", "--vgg", "v.pth", "--init", "m"),
            ("train", "demo", "--data", "d", "--out", "o", "--vgg", "v.pth", "--init", "m"),
            id="files",
        ),
    ],
)
def test_the_command(given, expected, folder):
    paths = {"m.csv", "raw videos", "o", "d", "v.pth", "m"}
    absolute = [str(folder / word) if word in paths else word for word in expected]
    assert repeated(*given) == shlex.join(["lia", *absolute])


def test_a_path_does_not_hang_on_the_folder_that_it_was_typed_in(folder, monkeypatch):
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(folder / "sub")
    monkeypatch.chdir(folder / "sub")
    said = repeated("run", "demo", *CORPUS, "--out", "../o").split()
    assert said[-1] == str(folder / "o")
    assert repeated("run", "demo", *CORPUS, "--out", str(folder / "link" / "o")).endswith("/link/o")


def test_a_configuration_file_is_written_out(folder):
    """Nothing but the command is needed, and what becomes of the file does not matter."""
    configuration.save(ted256(), folder / "config.json")
    given = ("--config", "config.json", "--schedule.seed", "7", "--schedule.min_workers", "2")
    assert repeated("train", *given, "--data", "d", "--out", "o").startswith(
        "lia train ted256 --schedule.min_workers 2 --schedule.seed 7 --data "
    )


def test_every_field_goes_there_and_back():
    """All that the demo changes, written as flags of another recipe."""
    words = experiment_words(demo(), "vox256")
    assert len(words) > 30
    assert resolve_experiment(parsed("train", *words)) == demo()


def test_variables_that_results_depend_on_are_repeated_and_no_other(folder):
    command = repeated(
        *("run", "demo", *CORPUS, "--out", "o"),
        LIA_FFMPEG="./my ffmpeg",
        LIA_TOKEN="hush",
        MLFLOW_TRACKING_URI="http://me:hush@host:5000",
        AWS_SECRET_ACCESS_KEY="hush",
    )
    assert command.startswith(f"LIA_FFMPEG='{folder}/my ffmpeg' lia run demo ")
    assert "hush" not in command


def test_a_program_on_the_path_keeps_its_name():
    assert repeated("run", "demo", *CORPUS, "--out", "o", LIA_FFMPEG="ffmpeg").startswith(
        "LIA_FFMPEG=ffmpeg "
    )


@pytest.mark.parametrize(
    ("store", "named"),
    [
        ("http://host:5000", {"MLFLOW_TRACKING_URI": "http://host:5000"}),
        ("http://me:hush@host:5000", {}),
        ("postgresql://host/mlflow?password=hush", {}),
    ],
)
def test_the_registry_of_an_initial_model_is_named_unless_its_address_may_hold_a_password(
    store, named, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert pinned_model("models:/lia-vox256/3") == ("models:/lia-vox256/3", named)


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        pytest.param({}, [], id="earlier-release"),
        pytest.param(
            {"command": "lia run x", "python_version": "3.11.9"},
            ["", "To repeat this run (Python 3.11.9):", "  lia run x"],
            id="outside-a-checkout",
        ),
        pytest.param(
            {
                "command": "lia run x", "git_commit": "c" * 40, "git_dirty": True, "python_version": "3.11.9",
                "torch_version": "2.13.0+cpu", "worker_cpus": 2, "lock_digest": "d" * 64,
            },
            [
                "",
                "To repeat this run, at commit cccccccccccc, with the changes that were not committed (Python "
                "3.11.9, torch 2.13.0+cpu, 2 threads a worker, requirements/lock.txt dddddddddddd):",
                "  lia run x",
            ],
            id="changed-checkout",
        ),
        pytest.param(
            {"command": "lia run x --wait-for first"},
            [
                "",
                "To repeat this run ():",
                "  lia run x --wait-for first",
                "  (not to the same bits: with --wait-for first the result depends on how fast shards come)",
            ],
            id="streaming",
        ),
    ],
)  # fmt: skip
def test_what_is_said(provenance, expected):
    assert how_to_repeat(provenance) == expected
