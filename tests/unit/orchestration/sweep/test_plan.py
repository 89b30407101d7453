"""The sweep's folder: its plan comes back as it was but for passwords, and one driver at a time is in it."""

import errno
import fcntl
import json
import threading

import pytest

from orchestration.sweep.plan import LOCK_SECONDS, PLAN, SweepFolder, sweep_folder
from pipelines.errors import InputError
from tests.small_study import SPACE, STEPS, small_experiment, small_plan


@pytest.fixture
def folder(tmp_path) -> SweepFolder:
    return SweepFolder(tmp_path / "s")


def test_a_plan_is_read_as_it_was_written(folder):
    plan = small_plan(
        objectives=("l1", "face_akd"), vgg="/w/vgg.pth", storage="postgresql+psycopg2://h/d", pruner="asha"
    )
    folder.write(plan)
    assert folder.exists()
    assert folder.read() == plan
    assert plan.experiment() == small_experiment()
    assert plan.read_space().fields == tuple(spec.partition("=")[0] for spec in SPACE)


def test_passwords_are_not_kept_and_that_of_mlflow_comes_back_from_the_environment(folder, monkeypatch):
    uri, storage = "https://ann:secret@mlflow:5000", "postgresql+psycopg2://ann:secret@db/optuna"
    plan = small_plan(tracking_uri=uri, storage=storage)
    folder.write(plan)
    assert "secret" not in (folder.path / PLAN).read_text()
    assert "@" not in (folder.path / PLAN).read_text()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert folder.read() == plan.without_credentials()
    assert folder.read().storage == "postgresql+psycopg2://db/optuna"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert folder.read().tracking_uri == uri


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda text: text[:-20], ["Invalid JSON"], id="cut-off"),
        pytest.param(lambda text: "[]", ["should be"], id="another-document"),
        pytest.param(lambda text: text.replace('"random"', '"magic"'), ["sampler", "'tpe'"], id="no-sampler"),
        pytest.param(
            lambda text: json.dumps({**json.loads(text), "trials": "x"}), ["integer"], id="no-number"
        ),
        pytest.param(
            lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "seed"}),
            ["seed"],
            id="field-missing",
        ),
    ],
)
def test_a_damaged_plan_is_refused_by_name(folder, damage, words):
    folder.write(small_plan())
    path = folder.path / PLAN
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError) as raised:
        folder.read()
    assert str(raised.value).startswith(f"{path}: not a sweep's plan: ")
    assert [word for word in words if word not in str(raised.value)] == []
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_sweep_says_how_to_start_one(folder):
    with pytest.raises(InputError, match=r"holds no sweep \(no sweep\.json\).*--study"):
        folder.read()


def test_a_new_sweep_needs_room(folder, tmp_path):
    folder.require_new()
    folder.path.mkdir()
    folder.require_new()
    (folder.path / "notes.txt").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        folder.require_new()
    folder.write(small_plan())
    with pytest.raises(InputError, match="lia sweep --resume s"):
        folder.require_new()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is not a folder"):
        SweepFolder(tmp_path / "file").require_new()


def test_a_file_system_without_locks_is_no_other_driver(folder, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    folder.make()
    (folder.path / ".lock").touch()
    monkeypatch.setattr("orchestration.sweep.plan.fcntl.flock", no_locks)
    assert folder.at_work(), "nobody knows"
    with pytest.raises(OSError, match="No locks available"), folder.locked():
        pass


def test_a_second_driver_is_kept_away(folder):
    with folder.locked():
        with (
            pytest.raises(InputError, match="another process is at work on this sweep"),
            SweepFolder(folder.path).locked(),
        ):
            pass
        with pytest.raises(InputError, match="another process"), folder.locked():
            pass
    with folder.locked():
        pass


def test_whether_a_driver_is_at_work_is_told_by_its_lock(folder):
    assert not folder.at_work()
    with folder.locked():
        assert SweepFolder(folder.path).at_work()
    assert not folder.at_work()


def test_who_only_looks_keeps_no_driver_away(folder):
    folder.make()
    with (folder.path / ".lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(LOCK_SECONDS / 2, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with folder.locked():
            pass


def test_a_swept_fields_own_value_is_not_recorded_with_the_sweep():
    kept = small_plan().unswept()
    assert "motion_dim" not in kept["model"]
    assert "lr" not in kept["optimiser"]
    assert kept["model"]["style_dim"] == small_plan().base["model"]["style_dim"]
    assert kept["name"] == small_plan().base["name"]
    assert "motion_dim" in small_plan().base["model"]


def test_a_trials_folder_is_named_by_its_number(folder):
    assert folder.trial(3).path == folder.path / "trial-0003"
    assert folder.trial(12345).path.name == "trial-12345"


def test_a_sweep_is_found_by_name_or_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SweepFolder(tmp_path / "sweeps" / "s").write(small_plan())
    assert sweep_folder(tmp_path / "sweeps", "s").path == tmp_path / "sweeps" / "s"
    assert sweep_folder(tmp_path / "elsewhere", "sweeps/s").exists()
    assert not sweep_folder(tmp_path / "sweeps", "t").exists()


def test_steps_are_the_experiments_unless_they_are_swept():
    assert small_plan().steps({"model.motion_dim": 3}) == STEPS
    assert small_plan().steps({"schedule.steps": 30}) == 30


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be made .*--out"):
        SweepFolder(tmp_path / "file" / "sweep").make()
