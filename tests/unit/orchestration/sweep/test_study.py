"""The study in its database: what it proposes and stops, how it is ranked, what is said where it cannot be opened."""

import sqlite3

import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from orchestration.sweep import study as studies
from orchestration.sweep.plan import SweepFolder
from pipelines.errors import InputError
from tests.small_study import GRACE, STEPS, distributions_of, small_plan, study_of, told

M = "model.motion_dim"


@pytest.fixture
def folder(sweep_with_database) -> SweepFolder:
    return sweep_with_database("sweep")


def test_a_study_is_kept_in_the_folder_and_opened_again(tmp_path):
    folder = SweepFolder(tmp_path)
    plan = small_plan(objectives=("psnr",))
    with studies.open_study(folder, plan) as study:
        assert study.study_name == plan.name
        study.ask(distributions_of(plan))
    assert folder.database.is_file()
    assert study.metric_names == ["psnr"]
    with studies.open_study(folder, plan) as study:
        assert [trial.number for trial in studies.unfinished(study)] == [0]
        assert [way.name for way in study.directions] == ["MAXIMIZE"]


def test_another_storage_may_be_named(folder, sweep_with_database):
    plan, other = small_plan(), f"sqlite:///{sweep_with_database('other').database}"
    with studies.open_study(folder, small_plan(storage=other)) as study:
        study.ask(distributions_of(plan))
    with studies.open_study(folder, plan) as study:
        assert study.trials == []


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        pytest.param("nothing", ["nothing", "correct the address"], id="no-address"),
        pytest.param("foo://h/d", ["foo://h/d", "foo", "correct the address"], id="no-such-kind"),
        pytest.param(
            "sqlite:////nowhere/at/all.db", ["/nowhere/at/all.db", "unable to open"], id="no-folder"
        ),
        pytest.param(
            "postgresql+psycopg2://ann:secret@127.0.0.1:1/d",
            ["postgresql+psycopg2://127.0.0.1:1/d", "refused", "Start the server"],
            id="no-server",
        ),
    ],
)
def test_a_database_that_cannot_be_used_is_named_with_the_remedy(folder, storage, words):
    for attempt in (
        lambda: studies.require_new_study(storage, "s"),
        lambda: studies.open_study(folder, small_plan(storage=storage), storage).__enter__(),
    ):
        with pytest.raises(InputError) as raised:
            attempt()
        message = str(raised.value)
        assert message.startswith("--storage ")
        assert [word for word in words if word not in message] == []
        assert "secret" not in message
        assert "\n" not in message
        assert "given again" not in message


def test_who_goes_on_without_the_password_is_told_that_it_is_not_kept(folder):
    plan = small_plan(storage="postgresql+psycopg2://127.0.0.1:1/d")
    with pytest.raises(
        InputError, match="user name and password are kept nowhere and have to be given again"
    ):
        studies.open_study(folder, plan).__enter__()


def test_the_driver_that_is_installed_is_named_where_another_is_asked_for(monkeypatch):
    """SQLAlchemy 2.1 takes psycopg 3 for a plain postgresql:// address; the extra installs psycopg2."""

    def lacks(url, **_):
        raise ImportError("Failed to import DB access module") from ModuleNotFoundError(
            "No module named 'psycopg'"
        )

    monkeypatch.setattr(studies, "RDBStorage", lacks)
    with pytest.raises(InputError) as raised:
        studies.require_new_study("postgresql://ann:secret@h/d", "s")
    assert str(raised.value) == (
        "--storage postgresql://h/d: No module named 'psycopg'. For PostgreSQL write "
        "postgresql+psycopg2://HOST/DATABASE, and pip install 'lia-platform[postgres]'"
    )


def test_another_programs_database_is_refused(tmp_path):
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('dc11669786a5')")
    database.close()
    with pytest.raises(InputError, match=r"mlflow\.db: holds tables of another program.*apart from MLflow's"):
        studies.require_new_study(f"sqlite:///{path}", "s")
    (tmp_path / "text.db").write_text("no database\n" * 100)
    with pytest.raises(InputError, match="file is not a database"):
        studies.require_new_study(f"sqlite:///{tmp_path}/text.db", "s")


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_trials_whose_study_is_gone_are_not_begun_anew(content, tmp_path):
    folder = SweepFolder(tmp_path)
    folder.trial(0).path.mkdir()
    if content is not None:
        folder.database.write_bytes(content)
    with pytest.raises(InputError, match=r"optuna\.db: the study of this sweep is gone.*--study"):
        studies.open_study(folder, small_plan()).__enter__()
    assert folder.database.exists() == (content is not None)


def test_a_server_that_has_lost_the_study_is_told_from_one_that_is_new(folder):
    storage = f"sqlite:///{folder.database}"
    plan = small_plan(storage=storage)
    folder.trial(0).path.mkdir()
    with pytest.raises(InputError, match=r"--storage sqlite:.*: the study of this sweep is gone"):
        studies.open_study(folder, plan).__enter__()
    folder.trial(0).path.rmdir()
    with studies.open_study(folder, plan):
        folder.trial(0).path.mkdir()
    with studies.open_study(folder, plan) as study:
        assert study.trials == []


def test_a_new_sweep_does_not_join_another_of_its_name(folder):
    plan = small_plan(storage=f"sqlite:///{folder.database}")
    with studies.open_study(folder, plan):
        pass
    studies.require_new_study(plan.storage, "other")
    with pytest.raises(
        InputError, match=r"--study s: sqlite:.*optuna\.db holds a study of this name already"
    ):
        studies.require_new_study(plan.storage, "s")


def proposals(plan, count: int) -> list[dict]:
    """What a study proposes where few directions and a learning rate near 0.003 are best."""
    study = study_of(plan)
    for _ in range(count):
        study.sampler = studies.sampler(plan, len(study.trials))
        trial = study.ask(distributions_of(plan))
        study.tell(trial, trial.params[M] + abs(trial.params["optimiser.lr"] - 3e-3))
    return [trial.params for trial in study.trials]


def test_the_seed_decides_and_tpe_learns_after_its_startup_trials():
    until = studies.STARTUP_TRIALS
    tpe, random, other = (
        proposals(plan, until + 3) for plan in (small_plan(sampler="tpe"), small_plan(), small_plan(seed=1))
    )
    assert random == proposals(small_plan(trials=50), until + 3)
    assert random != other
    assert tpe[:until] == random[:until]
    assert tpe[until:] != random[until:]
    assert len({trial["optimiser.lr"] for trial in tpe + other}) == 2 * (until + 3)


def test_pruners_spare_a_trial_for_its_grace():
    asha, median = (studies.pruner(small_plan(pruner=name)) for name in ("asha", "median"))
    assert isinstance(asha, SuccessiveHalvingPruner)
    assert isinstance(median, MedianPruner)
    assert isinstance(studies.pruner(small_plan()), NopPruner)
    curve = {GRACE - 1: 0.5, GRACE: 0.5, STEPS: 0.5}
    for pruner in (asha, median):
        study = optuna.create_study(pruner=pruner)
        stopped_at = []
        for number in range(8):
            trial = study.ask()
            for step, level in curve.items():
                trial.report(level + number, step)
                if trial.should_prune():
                    stopped_at.append(step)
                    break
            else:
                study.tell(trial, level)
                continue
            study.tell(trial, state=TrialState.PRUNED)
        assert stopped_at, pruner
        assert min(stopped_at) == GRACE


def test_ranked_by_the_first_objective():
    for name, order in (("l1", [2, 0, 1]), ("psnr", [1, 0, 2])):
        plan = small_plan(objectives=(name, "ssim"))
        trials = [told(plan, n, {M: 3}, [v, n]) for n, v in enumerate((0.2, 0.3, 0.1))]
        assert [trial.number for trial in studies.ranked(plan, trials)] == order
    alike = [told(plan, n, {M: 3}, [0.2, 0.1]) for n in (1, 0)]
    assert [trial.number for trial in studies.ranked(plan, alike)] == [0, 1]


def test_best_is_one_trial_or_the_pareto_front():
    plan = small_plan(objectives=("l1", "psnr"))
    values = [(0.1, 20.0), (0.2, 25.0), (0.2, 24.0), (0.3, 30.0), (0.4, 10.0)]
    study = study_of(plan, *(told(plan, n, {M: 3}, pair) for n, pair in enumerate(values)))
    assert [trial.number for trial in studies.ranked(plan, studies.best(study))] == [0, 1, 3]
    single = small_plan()
    study = study_of(single, *(told(single, n, {M: 3}, [value]) for n, value in enumerate((0.3, 0.1, 0.2))))
    assert [trial.number for trial in studies.best(study)] == [1]
    assert list(studies.best(study_of(single))) == []


def test_trials_by_how_they_ended():
    plan = small_plan()
    study = study_of(
        plan,
        told(plan, 0, {M: 3}, [0.1]),
        told(plan, 1, {M: 3}, state=TrialState.PRUNED, steps={10: 0.5}),
        told(plan, 2, {M: 3}, state=TrialState.FAIL, failure="why"),
    )
    study.ask(distributions_of(plan))
    numbers = {
        which.__name__: [trial.number for trial in which(study)]
        for which in (studies.unfinished, studies.finished, studies.complete)
    }
    assert numbers == {"unfinished": [3], "finished": [0, 1, 2], "complete": [0]}
    assert list(studies.best(study_of(plan, told(plan, 0, {M: 3}, state=TrialState.FAIL)))) == []


@pytest.mark.parametrize(
    "space",
    [
        pytest.param(("model.motion_dim=3,5,7", "optimiser.lr=log:1e-4:1e-2"), id="another-choice"),
        pytest.param(("model.motion_dim=3,5", "optimiser.lr=uniform:1e-4:1e-2"), id="another-kind"),
        pytest.param(("model.motion_dim=3,5",), id="a-field-less"),
        pytest.param((*small_plan().space, "data.flip=true,false"), id="a-field-more"),
    ],
)
def test_a_plan_whose_space_was_changed_is_refused(space, tmp_path):
    plan, folder = small_plan(), SweepFolder(tmp_path)
    study = study_of(plan, told(plan, 0, {M: 3, "optimiser.lr": 0.001}, [0.1]))
    studies.require_space(study, folder, plan)
    studies.require_space(
        study, folder, small_plan(space=("model.motion_dim=3,5", "optimiser.lr=log:1e-5:1e-2"))
    )
    with pytest.raises(InputError, match=r"sweep\.json: the space of .* is no longer that of trial 0"):
        studies.require_space(study, folder, small_plan(space=space))


def test_trials_that_were_hindered_are_tried_again_before_others_and_count_once():
    plan = small_plan()
    fields = [{"model.motion_dim": 3, "optimiser.lr": 0.001 * (n + 1)} for n in range(3)]
    failed = {"state": TrialState.FAIL, "failure": "the disk is full"}
    study = study_of(
        plan,
        told(plan, 0, fields[0], [0.1]),
        told(plan, 1, fields[1], **failed, hindered=True),
        told(plan, 2, fields[2], **failed),
    )
    assert len(studies.finished(study)) == 3
    assert [trial.number for trial in studies.hindered(study)] == [1]
    studies.try_again(study)
    assert (studies.hindered(study), studies.replaced(study), studies.proposed(study)) == ([], {1}, 3)
    studies.try_again(study)  # of a driver that was killed before it asked
    assert [trial.number for trial in studies.finished(study)] == [0, 2]
    asked = study.ask(distributions_of(plan))
    assert (asked.number, asked.params, asked.user_attrs) == (3, fields[1], {"again": 1})
    study.tell(asked, state=TrialState.FAIL)
    assert study.ask(distributions_of(plan)).user_attrs == {}


def test_a_trial_that_was_tried_again_in_vain_is_tried_again_under_a_third_number():
    plan = small_plan()
    fields = {"model.motion_dim": 3, "optimiser.lr": 0.001}
    hindered = {"state": TrialState.FAIL, "failure": "the disk is full", "hindered": True}
    study = study_of(plan, told(plan, 0, fields, **hindered), told(plan, 1, fields, **hindered, again=0))
    assert [trial.number for trial in studies.hindered(study)] == [1]
    studies.try_again(study)
    assert (studies.finished(study), studies.proposed(study)) == ([], 1)
    assert study.ask(distributions_of(plan)).user_attrs == {"again": 1}
