"""A sweep that is killed goes on to the same trials with the same scores; what dies on the way costs no trial.

No trial is stopped early here: which ones are depends on how far the others are at that moment.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.processes import descendants, wait_for
from tests.small_sweep import FIELDS, FLAGS, STEPS, TRIALS, sweep, trials
from tests.small_training import write_dataset

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy"
    ),  # Optuna's affair with SQLAlchemy 2.1
]
TRIAL_PROCESS = b"ray::ResourceTrainable"
"""Ray Tune's own class around that of the trials."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def dataset(root) -> Path:
    return write_dataset(root)


@pytest.fixture(scope="module")
def undisturbed(root, dataset) -> list[dict]:
    """What a sweep without accidents leaves: trials that are complete, and some that failed."""
    cwd = root / "undisturbed"
    cwd.mkdir()
    said = sweep(cwd, "--study", "small", "--data", dataset, "--pruner", "none", *FLAGS, *FIELDS).end(
        seconds=500
    )
    found = trials(cwd / "sweeps" / "small")
    assert [trial["number"] for trial in found] == list(range(TRIALS)), said
    assert {trial["state"] for trial in found} == {"COMPLETE", "FAIL"}, said
    return found


def test_a_killed_sweep_goes_on_to_the_same_trials_and_scores(root, dataset, undisturbed):
    """The driver is killed in the middle of a trial, and after that the processes of others."""
    cwd = root / "killed"
    cwd.mkdir()
    folder = cwd / "sweeps" / "small"
    last = next(trial["number"] for trial in reversed(undisturbed) if trial["state"] == "COMPLETE")
    first = next(trial["number"] for trial in undisturbed if trial["state"] == "COMPLETE")
    assert first < last, "the seed should give two complete trials"
    begun = sweep(cwd, "--study", "small", "--data", dataset, "--pruner", "none", *FLAGS, *FIELDS)
    try:
        wait_for(lambda: begun.running() and any(_checkpoints(folder, first)))
        begun.kill()
    finally:
        begun.close()
    assert trials(folder)[first]["state"] == "RUNNING"
    run = (folder / f"trial-{first:04d}" / "run.json").read_bytes()
    resumed = sweep(cwd, "--resume", "small")
    try:
        wait_for(lambda: resumed.running() and any(_checkpoints(folder, last)))
        killed = wait_for(lambda: resumed.running() and descendants(resumed.process.pid, TRIAL_PROCESS))
        for process in killed:
            os.kill(process, signal.SIGKILL)
        said = resumed.end()
    finally:
        resumed.close()
    assert trials(folder) == undisturbed, said
    assert (folder / f"trial-{first:04d}" / "run.json").read_bytes() == run
    assert f"trial {first} " in said


def _checkpoints(folder: Path, number: int) -> list[Path]:
    checkpoints = list((folder / f"trial-{number:04d}" / "checkpoints").glob("step-*"))
    return [path for path in checkpoints if path.name != f"step-{STEPS:08d}"]


@pytest.mark.thorough
def test_a_sweep_whose_shards_vanish_burns_no_trials(tmp_path, dataset):
    there, folder = Path(shutil.copytree(dataset, tmp_path / "dataset")), tmp_path / "sweeps" / "small"
    flags = ("--study", "small", "--data", there, "--pruner", "none", *FLAGS, *FIELDS, "--trials", "6")
    begun = sweep(tmp_path, *flags)
    try:
        wait_for(lambda: begun.running() and any(_checkpoints(folder, 0)))
        for shard in there.glob("*.tar"):
            shard.unlink()
        said = begun.end(1).replace("\n", " ")
    finally:
        begun.close()
    assert "3 trials in a row could not be trained, the last one: " in said
    assert "`lia sweep --resume sweeps/small` then tries them again" in said
    hindered = [trial for trial in trials(folder) if trial["hindered"]]
    assert len(hindered) >= 3
    shutil.copytree(dataset, there, dirs_exist_ok=True)
    said = sweep(tmp_path, "--resume", "small").end()
    found = trials(folder)
    again = found[found.index(hindered[-1]) + 1 :]
    assert [trial["params"] for trial in again[: len(hindered)]] == [trial["params"] for trial in hindered]
    assert not [trial for trial in again if trial["hindered"]]
    assert len(found) == 6 + len(hindered)
    assert "6 trials: " in said
