"""What is read out of a study: the best, the table of the direction count, the report, the winner's provenance."""

import csv
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from orchestration.registration import Registration
from orchestration.sweep import findings as module
from orchestration.sweep.findings import REPORT, TRIALS, Findings
from orchestration.sweep.plan import SweepFolder
from tests.small_study import small_plan, study_of, told

M, LR = "model.motion_dim", "optimiser.lr"


def of(tmp_path, plan, *trials) -> Findings:
    return Findings.of(SweepFolder(tmp_path), plan, study_of(plan, *trials))


def trial(plan, number, m, values=None, **about):
    return told(plan, number, {M: m, LR: 0.001 * (number + 1)}, values, **about)


@pytest.fixture
def found(tmp_path) -> Findings:
    plan = small_plan()
    return of(
        tmp_path,
        plan,
        trial(plan, 0, 5, [0.30], **{"validated/psnr": 20.0, "validated/ssim": 0.5}, steps={90: 0.30}),
        trial(plan, 1, 3, state=TrialState.PRUNED, steps={10: 0.9}),
        trial(plan, 2, 3, [0.20], **{"validated/psnr": 22.0}, steps={90: 0.20}),
        trial(plan, 3, 3, state=TrialState.FAIL, failure="diverged at step 7"),
        trial(plan, 4, 5, [0.25], **{"validated/psnr": 21.0, "validated/ssim": 0.6}, steps={90: 0.25}),
        trial(plan, 5, 3, [0.40], steps={90: 0.40}),
    )


def test_the_best_trial_wins(found):
    assert [best.number for best in found.best] == [2]
    assert found.winner.number == 2


def test_more_is_better_where_it_is(tmp_path):
    plan = small_plan(objectives=("psnr",))
    found = of(tmp_path, plan, *(trial(plan, n, 3, [v]) for n, v in enumerate((20.0, 24.0, 22.0))))
    assert found.winner.number == 1
    assert found.best_so_far() == [(0, 20.0), (1, 24.0), (2, 24.0)]


def test_of_several_objectives_the_front_is_kept_best_in_the_first_first(tmp_path):
    plan = small_plan(objectives=("l1", "psnr"))
    pairs = [(0.3, 30.0), (0.2, 24.0), (0.1, 20.0), (0.2, 25.0)]
    found = of(tmp_path, plan, *(trial(plan, n, 3, pair) for n, pair in enumerate(pairs)))
    assert [best.number for best in found.best] == [2, 3, 0]
    assert found.winner.number == 2
    assert found.text().splitlines()[1:5] == [
        "Pareto front (the first, best in l1, is the winner):",
        "  trial 2: M 3, lr 0.003: l1 0.1000, psnr 20.0000",
        "  trial 3: M 3, lr 0.004: l1 0.2000, psnr 25.0000",
        "  trial 0: M 3, lr 0.001: l1 0.3000, psnr 30.0000",
    ]


def test_the_best_so_far_never_gets_worse_and_skips_trials_without_scores(found):
    assert found.best_so_far() == [(0, 0.30), (2, 0.20), (4, 0.20), (5, 0.20)]


def test_the_ablation_has_the_best_trial_of_each_direction_count(found):
    table = found.ablation()
    assert table.columns == ["M", "trials", "complete", "l1", "psnr", "ssim"]
    assert table.rows == [
        ["3", "4", "2", "0.2000", "22.0000", ""],
        ["5", "2", "2", "0.2500", "21.0000", "0.6000"],
    ]


def test_a_count_without_a_complete_trial_says_how_its_trials_ended(tmp_path):
    plan = small_plan()
    states = (TrialState.PRUNED, TrialState.FAIL, TrialState.PRUNED)
    ended = [trial(plan, n, 3, state=state) for n, state in enumerate(states, 1)]
    found = of(tmp_path, plan, trial(plan, 0, 5, [0.1]), *ended)
    assert found.ablation().rows == [
        ["3", "3", "2 stopped, 1 failed", "", "", ""],
        ["5", "1", "1", "0.1000", "", ""],
    ]


@pytest.mark.parametrize(
    ("l1", "words"),
    [
        pytest.param(0.05, "copying the source scores l1 0.0757, the winner l1 0.0500", id="better"),
        pytest.param(
            0.1002,
            "copying the source scores l1 0.0757, the winner l1 0.1002: it does NOT beat copying. Train longer "
            "before you compare settings",
            id="worse",
        ),
    ],
)
def test_the_winner_is_held_against_copying_the_source(l1, words, tmp_path, parent, undrawn):
    plan = small_plan(objectives=("psnr",))
    scores = {"validated/l1": l1, "validated/copy_l1": 0.0757}
    found = of(tmp_path, plan, trial(plan, 0, 5, [20.0], **scores))
    assert words in found.text().splitlines()
    assert found.ablation().columns == ["M", "trials", "complete", "psnr", "l1", "ssim"]
    assert found.ablation().rows[-1] == ["copying", "", "", "", "0.0757", ""]
    found.keep(parent)
    assert f"C{words[1:]}." in (tmp_path / REPORT).read_text()
    assert "0.0757" in (tmp_path / TRIALS).read_text()


def test_a_complete_trial_of_several_objectives_has_its_step(tmp_path):
    plan = small_plan(objectives=("l1", "psnr"))
    table = of(tmp_path, plan, trial(plan, 0, 5, [0.1, 20.0]))._table()
    assert dict(zip(table.columns, table.rows[0], strict=True))["step"] == "90"


def test_the_report_says_what_was_asked(found, parent, undrawn, tmp_path):
    found.keep(parent)
    page = (tmp_path / REPORT).read_text()
    asked = (
        "optimiser.lr=log:1e-4:1e-2",
        "minimize l1",
        "random, seed 0",
        "/data (d)",
        "contours: 4 complete trials",
    )
    assert [words for words in asked if words not in page] == []
    assert "<td>model.motion_dim</td>" not in page, "the base's value is no trial's"
    assert "<td>model.style_dim</td>" in page


def test_there_is_no_ablation_where_the_count_was_not_swept(tmp_path):
    plan = small_plan(space=("optimiser.lr=log:1e-4:1e-2",))
    found = of(tmp_path, plan, told(plan, 0, {LR: 0.001}, [0.1]))
    assert found.ablation() is None
    assert found.text() == "1 trial: 1 complete\nbest trial:\n  trial 0: lr 0.001: l1 0.1000"


def test_the_text_for_the_terminal(found):
    assert found.text().splitlines() == [
        "6 trials: 4 complete, 1 stopped, 1 failed",
        "best trial:",
        "  trial 2: M 3, lr 0.003: l1 0.2000",
        "trial 3 failed: diverged at step 7",
        "",
        "Number of motion directions M (the best trial of each)",
        "M  trials  complete      l1     psnr    ssim",
        "3       4         2  0.2000  22.0000        ",
        "5       2         2  0.2500  21.0000  0.6000",
    ]


@pytest.fixture
def parent():
    logged = SimpleNamespace(files=[], folders=[], metrics=[], tags={}, run_id="parent", flushed=0)
    logged.log_file = lambda path: logged.files.append(path.name)
    logged.log_folder = lambda path, name: logged.folders.append((path.name, name))
    logged.log_metrics = lambda values, step: logged.metrics.append((step, values))
    logged.set_tags = logged.tags.update
    logged.flush = lambda: None
    return logged


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are not drawn."""
    monkeypatch.setattr(module, "draw_pictures", lambda *_: {})


@pytest.fixture
def registered(monkeypatch):
    """What was registered, with which tags."""
    calls = []

    def register_run(folder, run, *, tags):
        calls.append((folder.path.name, run, tags))
        return Registration("models:/lia-demo/4", False)

    monkeypatch.setattr(module, "register_run", register_run)
    monkeypatch.setattr(module.Run, "attach", lambda run_id, *, tracking_uri: run_id)
    record = SimpleNamespace(run_id="run-of-2")
    monkeypatch.setattr("orchestration.training.run_folder.RunFolder.open", lambda _: (None, record))
    return calls


def test_the_winner_is_registered_with_its_sweep_as_provenance(found, parent, registered):
    assert found.register(parent).uri == "models:/lia-demo/4"
    assert registered == [
        (
            "trial-0002",
            "run-of-2",
            {
                "lia.sweep.name": "s",
                "lia.sweep.run": "parent",
                "lia.sweep.trial": "2",
                "lia.sweep.trials": "6",
                "lia.sweep.score.l1": "0.2",
            },
        )
    ]
    assert parent.tags == {"lia.sweep.winner": "models:/lia-demo/4", "lia.sweep.trial": "2"}


def test_what_was_found_is_logged(found, parent, undrawn):
    found.keep(parent)
    assert parent.metrics == [(n, {"best/l1": v}) for n, v in found.best_so_far()]
    assert set(parent.files) == {REPORT, TRIALS}
    assert parent.folders == [("pictures", "pictures")]


def test_every_trial_is_in_the_table_with_why_it_failed(found, parent, undrawn, tmp_path):
    found.keep(parent)
    with (tmp_path / TRIALS).open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["trial", "M", "lr", "state", "step", "l1", "copy_l1", "why it failed"],
        ["0", "5", "0.001", "complete", "90", "0.3", "", ""],
        ["1", "3", "0.002", "stopped", "10", "", "", ""],
        ["2", "3", "0.003", "complete", "90", "0.2", "", ""],
        ["3", "3", "0.004", "failed", "", "", "", "diverged at step 7"],
        ["4", "5", "0.005", "complete", "90", "0.25", "", ""],
        ["5", "3", "0.006", "complete", "90", "0.4", "", ""],
    ]
    page = (tmp_path / REPORT).read_text()
    assert all(
        words in page for words in ("Sweep s", "Best trial", "diverged at step 7", "motion directions M")
    )


def test_where_no_trial_has_a_score_they_are_kept_with_what_they_were_worth(tmp_path, parent, undrawn):
    plan = small_plan(objectives=("l1", "face_akd"))
    lost = trial(
        plan,
        0,
        5,
        state=TrialState.FAIL,
        failure="no face",
        **{"validated/l1": 0.25, "training_iteration": 90},
    )
    found = of(tmp_path, plan, lost)
    assert found.best == ()
    found.keep(parent)
    with (tmp_path / TRIALS).open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["state"], row["step"], row["l1"], row["face_akd"]) == ("failed", "90", "0.25", "")
    assert row["why it failed"] == "no face"
    assert set(parent.files) == {REPORT, TRIALS}
    page = (tmp_path / REPORT).read_text()
    assert "no face" in page
    assert "Best trial" not in page


def test_what_a_metric_leaves_out_and_what_copying_scores_stand_beside_it(tmp_path):
    plan = small_plan(objectives=("face_akd",))
    scores = {"validated/face_missed": 0.4, "validated/baseline_face_akd": 2.5}
    found = of(tmp_path, plan, trial(plan, 0, 5, [1.5], **scores, **{"validated/copy_l1": 0.1}))
    table = found._table()
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["face_akd"], row["face_missed"]) == ("1.5000", "0.4000")
    assert (row["copy_l1"], row["copy_face_akd"]) == ("0.1000", "2.5000")
    copying = dict(zip(found.ablation().columns, found.ablation().rows[-1], strict=True))
    assert (copying["M"], copying["face_akd"], copying["l1"]) == ("copying", "2.5000", "0.1000")


def test_a_winner_is_held_against_copying_in_each_objective(tmp_path):
    plan = small_plan(objectives=("l1", "ssim"))
    copying = {"validated/copy_l1": 0.1, "validated/copy_ssim": 0.8}
    found = of(tmp_path, plan, trial(plan, 0, 5, [0.05, 0.7], **copying))
    assert found.ablation().rows[-1] == ["copying", "", "", "0.1000", "0.8000", ""]
    assert found.against_copying().startswith(
        "copying the source scores l1 0.1000, ssim 0.8000, the winner l1 0.0500, ssim 0.7000: it does NOT beat copying "
        "in ssim."
    )
    better = of(tmp_path, plan, trial(plan, 0, 5, [0.05, 0.9], **copying))
    assert better.against_copying().endswith("the winner l1 0.0500, ssim 0.9000")


def test_a_trial_that_failed_before_its_first_validation_tells_its_step(tmp_path):
    plan = small_plan()
    found = of(
        tmp_path,
        plan,
        trial(plan, 0, 5, state=TrialState.FAIL, training_iteration=4, failure="step 4: not finite"),
    )
    table = found._table()
    assert dict(zip(table.columns, table.rows[0], strict=True))["step"] == "4"
