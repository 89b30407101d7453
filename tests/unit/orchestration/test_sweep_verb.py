"""`lia sweep` before anything starts: what it refuses, what it makes of its flags, and how a sweep goes on."""

import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestration.cli import main
from orchestration.cli.verbs import sweep as verb
from orchestration.cluster import Node, Resources
from orchestration.recipes import demo, vox256
from orchestration.sweep.plan import PLAN, SweepFolder
from orchestration.sweep.study import open_study
from orchestration.training.recorded_training import PerceptualWeights
from tests.small_study import small_plan, told
from tests.small_training import write_dataset

RECIPE = ("demo", "--model.image_size", "32", "--prepare.size", "32", "--schedule.steps", "50")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three clips to train on and one to test on, 32 px."""
    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def ran(monkeypatch):
    """Sweeps that would have run, instead of running them: (folder, plan, storage)."""
    calls = []

    class Done:
        def closing_words(self) -> str:
            return "done"

    def run_sweep(folder, plan, *, storage, price, verbose):
        calls.append((folder, plan, storage))
        return Done()

    def begin_sweep(folder, plan):
        folder.path.mkdir(parents=True)
        return plan

    machine = Resources((Node(cpus=2, gpus=0),))
    monkeypatch.setattr("orchestration.cluster.connected", lambda **_: nullcontext(machine))
    monkeypatch.setattr("orchestration.sweep.sweep.begin_sweep", begin_sweep)
    monkeypatch.setattr("orchestration.sweep.sweep.run_sweep", run_sweep)
    return calls


def sweep(*argv) -> int:
    try:
        return main(["sweep", *map(str, argv)])
    except SystemExit as stopped:
        return int(stopped.code or 0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--data", "d"], ["--study NAME", "--resume NAME"], id="no-name"),
        pytest.param(["--data", "d", "--study", "a/b"], ["--study a/b", "letters"], id="a-path-as-name"),
        pytest.param(["--data", "d", "--study", ".."], ["--study ..", "letters"], id="a-folder-above"),
        pytest.param(["--study", "s"], ["--data DIR", "lia prepare"], id="no-data"),
        pytest.param(
            ["--study", "s", "--data", "nowhere", "--space", "model.motion_dim=3,5"],
            ["nowhere"],
            id="no-such-dataset",
        ),
        pytest.param(
            ["--study", "s", "--data", "d"], ["loss.perceptual", "with --space"], id="default-space"
        ),
        pytest.param(["--data", "d", "--study", "s", "--sampler", "x"], ["--sampler", "tpe"], id="sampler"),
        pytest.param(["--data", "d", "--study", "s", "--pruner", "x"], ["--pruner", "asha"], id="pruner"),
        pytest.param(
            ["--data", "d", "--study", "s", "--space", "model.motions=1"],
            ["--space", "model.motions", "model.motion_dim"],
            id="unknown-field",
        ),
        pytest.param(
            ["--data", "d", "--study", "s", "--space", "model.motion_dim=1,2", "--objective", "loss"],
            ["--objective loss", "l1"],
            id="no-metric",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_is_looked_at(flags, words, here, ran, capsys):
    assert sweep(*RECIPE, *flags) == 2
    message = capsys.readouterr().err
    assert [word for word in words if word not in message] == []
    assert list(here.iterdir()) == []
    assert ran == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--trials", "0"], ["--trials 0", "1 or more"], id="no-trials"),
        pytest.param(["--grace", "0"], ["--grace 0", "1 or more"], id="no-grace"),
        pytest.param(
            ["--grace", "100", "--schedule.steps", "50"],
            ["--grace 100", "50 steps", "--pruner none"],
            id="grace-of-a-whole-trial",
        ),
        pytest.param(["--concurrent", "3"], ["--concurrent 3", "give 2 or less"], id="more-than-there-is"),
        pytest.param(
            ["--space", "loss.perceptual_features=none,vgg19", "--loss.perceptual", "10"],
            ["loss.perceptual_features = vgg19", "--vgg FILE"],
            id="swept-features-without-their-weights",
        ),
        pytest.param(
            ["--space", "loss.perceptual=log:1:100", "--loss.perceptual_features", "vgg19"],
            ["loss.perceptual_features = vgg19", "--vgg FILE"],
            id="swept-lambda-without-its-weights",
        ),
        pytest.param(["--price", "-1"], ["--price -1", "0 or more"], id="price"),
        pytest.param(["--price", "nan"], ["--price nan", "0 or more"], id="price-no-number"),
        pytest.param(["--concurrent", "-1"], ["--concurrent -1", "0 or more"], id="concurrent"),
        pytest.param(["--clips", "-1"], ["--clips -1", "0 or more"], id="clips"),
        pytest.param(
            ["--objective", "l1", "psnr", "--pruner", "asha"],
            ["--pruner asha", "leave it out"],
            id="pareto-pruner",
        ),
        pytest.param(
            ["--model.image_size", "64", "--prepare.size", "64"],
            ["32 px", "64 px", "--model.image_size 32 --prepare.size 32"],
            id="another-size",
        ),
        pytest.param(["--vgg", "f.pth"], ["--vgg f.pth", "does not use it"], id="superfluous-weights"),
        pytest.param(
            ["--space", "loss.perceptual=1,2"], ["loss.perceptual", "has no effect"], id="no-effect"
        ),
        pytest.param(
            ["--storage", "sqlite:////nowhere/at/all.db"],
            ["--storage", "/nowhere/at/all.db"],
            id="no-storage",
        ),
    ],
)
def test_what_does_not_go_with_the_dataset_or_itself_is_refused(flags, words, here, ran, dataset, capsys):
    given = [] if "--space" in flags else ["--space", "model.motion_dim=3,5"]
    assert sweep(*RECIPE, "--study", "s", "--data", dataset, *given, *flags) == 2
    message = capsys.readouterr().err.strip()
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    assert list(here.iterdir()) == []
    assert ran == []


def test_a_plan_is_what_the_flags_say_and_the_rest_has_defaults(here, ran, dataset):
    space = ["--space", "model.motion_dim=3,5", "--space", "optimiser.lr=log:1e-4:1e-2"]
    assert sweep(*RECIPE, "--study", "s", "--data", dataset, *space) == 0
    ((folder, plan, storage),) = ran
    assert (folder.path, storage) == (verb.Path("sweeps/s"), None)
    assert (plan.space, plan.objectives) == (("model.motion_dim=3,5", "optimiser.lr=log:1e-4:1e-2"), ("l1",))
    assert (plan.trials, plan.seed, plan.sampler, plan.pruner) == (20, 0, "tpe", "asha")
    assert (plan.grace, plan.clips, plan.concurrent) == (5, 16, 0)
    assert (plan.dataset, plan.storage, plan.vgg) == (str(dataset), None, None)
    assert plan.tracking_uri == f"sqlite:///{here}/mlflow.db"
    schedule = plan.experiment().schedule
    assert (schedule.steps, schedule.workers, schedule.validate_every, schedule.checkpoint_every) == (
        50,
        1,
        5,
        5,
    )


def test_a_trial_has_one_worker_whatever_the_recipe_has(here, ran, dataset, capsys):
    """A batch of one pair is no multiple of the recipe's two workers."""
    flags = [
        "--study",
        "s",
        "--data",
        dataset,
        "--space",
        "model.motion_dim=3,5",
        "--schedule.batch_size",
        "1",
    ]
    assert sweep(*RECIPE, *flags) == 0
    schedule = ran[0][1].experiment().schedule
    assert (schedule.workers, schedule.min_workers, schedule.batch_size) == (1, 0, 1)
    assert sweep(*RECIPE, *flags, "--schedule.workers", "2") == 2
    assert "schedule.batch_size must be a multiple" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [True, False])
def test_only_a_sweep_that_was_begun_can_go_on(kept, here, ran, dataset, monkeypatch, capsys):
    def interrupted(folder, plan, **_):
        if kept:
            folder.write(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestration.sweep.sweep.begin_sweep", interrupted)
    assert sweep(*RECIPE, "--study", "s", "--data", dataset, "--space", "model.motion_dim=3,5") == 130
    assert ("`lia sweep --resume sweeps/s` goes on" in capsys.readouterr().out) is kept


def test_several_objectives_are_not_pruned(here, ran, dataset):
    flags = ["--objective", "l1", "psnr", "--space", "model.motion_dim=3,5", "--trials", "3", "--seed", "7"]
    assert sweep(*RECIPE, "--study", "s", "--data", dataset, *flags) == 0
    plan = ran[0][1]
    assert (plan.objectives, plan.pruner, plan.trials, plan.seed) == (("l1", "psnr"), "none", 3, 7)


def test_a_trials_schedule_is_ten_validations_unless_flags_say_otherwise():
    schedule = verb.sweep_experiment(vox256(), {"schedule.workers", "schedule.keep_checkpoints"}).schedule
    assert (schedule.validate_every, schedule.checkpoint_every, schedule.sample_every) == (
        80_000,
        80_000,
        800_000,
    )
    assert (schedule.workers, schedule.keep_checkpoints) == (8, 3)
    schedule = verb.sweep_experiment(demo(), set()).schedule
    assert schedule.keep_checkpoints == 1
    assert schedule.log_every <= schedule.validate_every == 160


def test_a_new_sweep_takes_no_folder_and_no_study_that_is_there(here, ran, dataset, capsys):
    flags = (*RECIPE, "--data", dataset, "--space", "model.motion_dim=3,5")
    SweepFolder(here / "sweeps" / "s").write(small_plan())
    assert sweep(*flags, "--study", "s") == 2
    assert "lia sweep --resume s" in capsys.readouterr().err
    storage = f"sqlite:///{here}/shared.db"
    with open_study(SweepFolder(here), small_plan(name="t"), storage):
        pass
    assert sweep(*flags, "--study", "t", "--storage", storage) == 2
    assert "holds a study of this name already" in capsys.readouterr().err
    assert sweep(*flags, "--study", "u", "--storage", storage) == 0
    assert ran[0][2] == storage


@pytest.fixture
def begun(here, dataset):
    """A sweep of this name whose study is on a server; its folder."""
    from pipelines.dataset.pairs import PairDataset

    digest = PairDataset(dataset, "train").digest
    folder = SweepFolder(here / "sweeps" / "s")
    storage = "postgresql+psycopg2://h/d"
    folder.write(small_plan(dataset=str(dataset), dataset_digest=digest, storage=storage))
    return folder


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--study", "t"], ["--resume goes on", "leave all but"], id="name"),
        pytest.param(["--space", "model.motion_dim=3,5"], ["leave all but"], id="space"),
        pytest.param(["--seed", "0"], ["leave all but"], id="seed"),
        pytest.param(["--schedule.steps", "10"], ["leave all but"], id="field"),
        pytest.param(["demo"], ["leave all but"], id="recipe"),
        pytest.param(["--trials", "5"], ["--trials 5", "begun with 6"], id="fewer-trials"),
        pytest.param(["--concurrent", "-2"], ["--concurrent -2"], id="concurrent"),
        pytest.param(
            ["--storage", "postgresql+psycopg2://ann:secret@h/other"],
            ["postgresql+psycopg2://h/other", "is in postgresql+psycopg2://h/d"],
            id="another-storage",
        ),
    ],
)
def test_what_would_make_it_another_sweep_is_refused_on_resuming(flags, words, begun, ran, capsys):
    before = (begun.path / PLAN).read_bytes()
    assert sweep("--resume", "s", *flags) == 2
    message = capsys.readouterr().err
    assert [word for word in words if word not in message] == []
    assert "secret" not in message
    assert (begun.path / PLAN).read_bytes() == before
    assert ran == []


def test_a_sweep_goes_on_with_more_trials_and_its_password(begun, ran, monkeypatch):
    monkeypatch.setattr(verb, "_finished", lambda *_: 0)
    storage = "postgresql+psycopg2://ann:secret@h/d"
    assert sweep("--resume", "s", "--trials", "9", "--concurrent", "2", "--storage", storage) == 0
    ((folder, plan, given),) = ran
    assert (folder.path.resolve(), plan.trials, plan.concurrent, given) == (begun.path, 9, 2, storage)
    assert plan.space == small_plan().space


def test_what_is_left_of_a_sweep_is_forecast(begun, ran, monkeypatch, capsys):
    plan = replace(begun.read(), storage=None)
    begun.write(plan)
    with open_study(begun, plan) as study:
        study.add_trial(told(plan, 0, {"model.motion_dim": 3, "optimiser.lr": 0.001}, [0.1]))
    asked = []

    def forecast(*_, trials, **__):
        asked.append(trials)
        return SimpleNamespace(lines=lambda: ["forecast"])

    monkeypatch.setattr("orchestration.sweep.forecast.forecast", forecast)
    assert sweep("--resume", "s", "--trials", "9", "--dry-run") == 0
    assert asked == [8]
    begun.write(replace(plan, trials=1))
    assert sweep("--resume", "s", "--dry-run") == 0
    assert "nothing is left: 1 of 1 trials are done" in capsys.readouterr().out
    assert (asked, ran) == ([8], [])


def test_a_damaged_study_is_told_before_ray_is_started(begun, ran, capsys):
    begun.write(replace(begun.read(), storage=None))
    begun.database.write_bytes(b"no database" * 100)
    assert sweep("--resume", "s") == 2
    message = capsys.readouterr().err
    assert "optuna.db: cannot be used (file is not a database). Put back a copy" in message.replace("\n", " ")
    assert "--storage" not in message
    assert ran == []


def test_a_study_in_the_folder_is_not_looked_for_elsewhere(begun, ran, capsys):
    plan = json.loads((begun.path / PLAN).read_text())
    (begun.path / PLAN).write_text(json.dumps({**plan, "storage": None}))
    assert sweep("--resume", "s", "--storage", "postgresql+psycopg2://h/d") == 2
    assert "optuna.db: leave --storage out" in capsys.readouterr().err


def test_trials_with_other_weights_could_not_be_compared(begun, ran, monkeypatch, capsys):
    weights = PerceptualWeights(verb.Path("vgg.pth"), "f" * 64)
    monkeypatch.setattr(verb, "_perceptual_weights", lambda *_: weights)
    monkeypatch.setattr(verb, "_finished", lambda *_: 0)
    assert sweep("--resume", "s") == 2
    assert "vgg.pth: is not the file that this sweep began with" in capsys.readouterr().err
    begun.write(replace(begun.read(), perceptual_sha256=weights.sha256))
    assert sweep("--resume", "s") == 0


def test_whose_password_is_kept_nowhere_is_told_so(here, ran, dataset, monkeypatch, capsys):
    def interrupted(folder, plan, **_):
        folder.write(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestration.sweep.sweep.begin_sweep", interrupted)
    monkeypatch.setattr("orchestration.sweep.study.require_new_study", lambda *_: None)
    storage = "postgresql+psycopg2://ann:secret@h/d"
    flags = ("--study", "s", "--data", dataset, "--space", "model.motion_dim=3,5", "--storage", storage)
    assert sweep(*RECIPE, *flags) == 130
    said = capsys.readouterr().out
    assert "goes on; give --storage again, too: user name and password are kept nowhere" in said
    assert "secret" not in said


def test_a_dataset_that_changed_is_refused(begun, ran, capsys):
    plan = json.loads((begun.path / PLAN).read_text())
    (begun.path / PLAN).write_text(json.dumps({**plan, "dataset_digest": "0" * 64}))
    assert sweep("--resume", "s") == 2
    assert "the dataset changed since this sweep began" in capsys.readouterr().err


def test_nothing_to_go_on_with(here, ran, capsys):
    assert sweep("--resume", "s") == 2
    assert "sweeps/s: holds no sweep (no sweep.json)" in capsys.readouterr().err
    assert list(here.iterdir()) == []
