"""Between Ray Tune and the study: what is handed out, what is stopped, what the study is told, and that only once."""

from types import SimpleNamespace

import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from orchestration.sweep import study as studies
from orchestration.sweep.search import FAILED, MAX_FAILURES, VALIDATION, Pruning, StudySearch, last_error
from orchestration.sweep.study import FAILURE, SECONDS, STEP
from tests.small_study import GRACE, STEPS, small_plan, study_of

SPACE = small_plan().read_space()


@pytest.fixture
def opened():
    """A search on the test's one study, which goes on with what was left."""
    kept = []

    def open_search(**changes) -> StudySearch:
        plan = small_plan(**changes)
        if not kept:
            kept.append(study_of(plan, pruner=studies.pruner(plan)))
        return StudySearch(kept[0], plan, SPACE, studies.unfinished(kept[0]))

    return open_search


def validated(step: int, *, seconds: float = 1.0, **scores: float) -> dict:
    return {
        "training_iteration": step,
        VALIDATION: True,
        SECONDS: seconds,
        **{f"validated/{name}": score for name, score in scores.items()},
    }


def ended(step: int = STEPS, *, seconds: float = 2.0, **scores: float) -> dict:
    return {
        "training_iteration": step,
        "done": True,
        SECONDS: seconds,
        **{f"score/{name}": score for name, score in scores.items()},
        **{f"validated/{name}": score for name, score in scores.items()},
    }


def test_trials_are_numbered_and_named_by_their_fields(opened):
    search = opened()
    first, second = search.suggest("a"), search.suggest("b")
    assert [first["number"], second["number"]] == [0, 1]
    assert list(first["fields"]) == ["model.motion_dim", "optimiser.lr"]
    assert first["fields"] == search.frozen("a").params
    assert first["fields"] != second["fields"]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_what_a_killed_driver_left_is_handed_out_first_under_its_number(opened, sampler):
    def tell(search, name):
        search.on_trial_complete(name, ended(l1=0.1))

    search = opened(sampler=sampler)
    handed = [search.suggest(name) for name in "abc"]
    tell(search, "b")
    again = opened(sampler=sampler)
    resumed = [again.suggest(name) for name in "xyz"]
    assert resumed[:2] == [handed[0], handed[2]]
    assert resumed[2]["number"] == 3
    for name in "xyz":
        tell(again, name)
    assert [trial.state for trial in again.study.trials] == [TrialState.COMPLETE] * 4
    assert search.suggest("d")["number"] == 4


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_that_is_killed_and_begun_again_proposes_what_one_that_was_not_would(
    sampler, sweep_with_database
):
    """Each driver but the last is killed with a trial under way, which the next one is handed first."""

    def sequence(name: str, *ends: int) -> list[dict]:
        folder, plan, found = sweep_with_database(name), small_plan(sampler=sampler), {}
        for end in ends:
            with studies.open_study(folder, plan) as study:
                search = StudySearch(study, plan, SPACE, studies.unfinished(study))
                for trial_id in map(str, range(end - len(studies.finished(study)))):
                    handed = search.suggest(trial_id)
                    assert found.setdefault(handed["number"], handed) == handed
                    score = abs(handed["fields"]["optimiser.lr"] - 0.003)
                    search.on_trial_complete(trial_id, ended(l1=score))
                if end < ends[-1]:
                    handed = search.suggest("left")
                    found[handed["number"]] = handed
        return list(found.values())

    whole = sequence("whole", 13)
    assert [trial["number"] for trial in whole] == list(range(13))
    assert sequence("parts", 4, 11, 13) == whole


def test_rungs_and_verdicts_are_in_the_database_for_the_next_driver(sweep_with_database):
    folder, plan, stopped = sweep_with_database("sweep"), small_plan(pruner="asha"), []
    for name, level in (("a", 0.1), ("weak", 0.5)):
        with studies.open_study(folder, plan) as study:
            stopped.append(grown(StudySearch(study, plan, SPACE), name, level))
    assert stopped == [None, GRACE]
    with studies.open_study(folder, plan) as study:
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
        assert study.trials[1].user_attrs[SECONDS] == GRACE


def test_a_complete_trial_is_told_with_its_scores_once(opened):
    search = opened()
    search.suggest("a")
    search.on_trial_complete("a", ended(l1=0.25))
    search.on_trial_complete("a", ended(l1=0.5))
    search.fail("a", "too late")
    (trial,) = search.study.trials
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [0.25])
    assert trial.user_attrs == {SECONDS: 2.0, STEP: STEPS, "validated/l1": 0.25}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        pytest.param({FAILED: "the dataset is gone", "done": True}, "the dataset is gone", id="says-why"),
        pytest.param({"done": True}, "ended without a score", id="no-score"),
        pytest.param(None, "ended without a score", id="no-result"),
        pytest.param(ended(l1=float("nan")), "its scores are no numbers to compare: l1 = nan", id="nan"),
        pytest.param(ended(l1=float("inf")), "its scores are no numbers to compare: l1 = inf", id="infinite"),
    ],
)
def test_a_trial_without_a_score_failed_with_the_reason_and_the_sweep_goes_on(opened, result, reason):
    search = opened()
    search.suggest("a")
    search.on_trial_complete("a", result)
    (trial,) = search.study.trials
    assert (trial.state, trial.user_attrs[FAILURE]) == (TrialState.FAIL, reason)
    assert search.suggest("b")["number"] == 1


@pytest.mark.parametrize("objectives", [("l1",), ("l1", "face_akd")])
@pytest.mark.parametrize("dies", [True, False])
def test_what_a_failed_trial_was_worth_is_noted(dies, objectives, opened):
    search = opened(objectives=objectives, pruner="none")
    search.suggest("a")
    search.prunes("a", validated(GRACE, seconds=5.0, l1=0.3))
    if dies:
        search.on_trial_complete("a", error=True)
    else:
        search.on_trial_complete("a", {**validated(20, seconds=9.0, l1=0.2), FAILED: "no face", "done": True})
    (trial,) = search.study.trials
    assert trial.state is TrialState.FAIL
    noted = {name: trial.user_attrs[name] for name in (SECONDS, STEP, "validated/l1")}
    expected = (5.0, GRACE, 0.3) if dies else (9.0, 20, 0.2)
    assert tuple(noted.values()) == expected


def test_one_score_of_several_that_is_absent_fails_the_trial(opened):
    search = opened(objectives=("l1", "face_akd"))
    for name in "ab":
        search.suggest(name)
    search.on_trial_complete("a", ended(l1=0.1))
    search.on_trial_complete("b", ended(l1=0.1, face_akd=2.0))
    assert [trial.state for trial in search.study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert search.study.trials[1].values == [0.1, 2.0]


def grown(search: StudySearch, name: str, level: float, key: str = "l1") -> int | None:
    """Let a trial validate at this level every ten steps; the step at which it is stopped."""
    search.suggest(name)
    for step in range(GRACE, STEPS + 1, 10):
        if search.prunes(name, validated(step, seconds=float(step), **{key: level, "ssim": 0.5})):
            return step
    search.on_trial_complete(name, ended(**{key: level}))
    return None


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_a_weak_trial_is_stopped_at_once_in_the_study_with_its_seconds(opened, pruner):
    search = opened(pruner=pruner)
    for name in "abcd":
        grown(search, name, 0.1)
    assert grown(search, "weak", 0.5) == GRACE
    trial = search.frozen("weak")
    assert trial.state is TrialState.PRUNED
    assert trial.user_attrs == {
        **{SECONDS: float(GRACE), STEP: GRACE},
        **{"validated/l1": 0.5, "validated/ssim": 0.5},
    }
    assert trial.intermediate_values == {GRACE: 0.5}
    # What the training says until it has ended changes nothing.
    assert search.prunes("weak", validated(20, l1=0.0))
    search.on_trial_complete("weak", ended(l1=0.0))
    search.on_trial_complete("weak", error=True)
    search.fail("weak", "late")
    assert search.study.trials[trial.number] == trial


@pytest.mark.parametrize(
    ("objective", "key", "good", "bad"),
    [
        ("l1", "l1", 0.1, 0.5),
        ("psnr", "psnr", 30.0, 20.0),
        ("face_akd", "l1", 0.1, 0.5),
        ("face_csim", "l1", 0.1, 0.5),
    ],
)
def test_the_worse_trial_is_stopped_whichever_way_is_better(opened, objective, key, good, bad):
    """Cosine similarity grows while L1, by which its trials are stopped, shrinks: the sign is turned."""

    def grow(name: str, level: float) -> int | None:
        search.suggest(name)
        for step in range(GRACE, STEPS, 10):
            if search.prunes(name, validated(step, **{key: level})):
                return step
        search.on_trial_complete(name, ended(**{objective: 1.0}))
        return None

    search = opened(objectives=(objective,), pruner="asha")
    assert [grow(name, good) for name in "abc"] == [None, None, None]
    assert grow("bad", bad) == GRACE
    assert grow("best", good * (1.1 if key == "psnr" else 0.9)) is None


def test_a_validation_that_is_no_number_stops_a_trial(opened):
    search = opened(pruner="asha")
    search.suggest("a")
    assert search.prunes("a", validated(GRACE, l1=float("nan")))
    assert search.frozen("a").state is TrialState.PRUNED


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        pytest.param({"pruner": "none"}, validated(GRACE, l1=9.0), id="nothing-stops"),
        pytest.param(
            {"pruner": "asha"}, {"training_iteration": GRACE, "seconds_left": 1.0}, id="no-validation"
        ),
        pytest.param({"pruner": "asha"}, validated(GRACE - 1, l1=9.0), id="within-the-grace"),
        pytest.param({"pruner": "asha"}, validated(STEPS, l1=9.0), id="the-last-step"),
        pytest.param(
            {"objectives": ("l1", "psnr"), "pruner": "none"},
            validated(GRACE, l1=9.0),
            id="several-objectives",
        ),
    ],
)
def test_what_stops_no_trial(opened, changes, result):
    search = opened(**changes)
    for name in "abc":
        search.suggest(name)
        for step in (GRACE, STEPS):
            search.prunes(name, validated(step, l1=0.1))
    search.suggest("weak")
    assert not search.prunes("weak", result)
    assert search.frozen("weak").state is TrialState.RUNNING


def test_a_trial_that_goes_on_from_a_checkpoint_passes_a_validation_again(opened):
    """Optuna would warn of a step that was reported already."""
    search = opened(pruner="asha")
    handed = search.suggest("a")
    assert not search.prunes("a", validated(GRACE, l1=0.3))
    again = opened(pruner="asha")
    assert again.suggest("x") == handed
    assert not again.prunes("x", validated(GRACE, l1=0.7))
    assert not again.prunes("x", validated(2 * GRACE, l1=0.2))
    assert again.frozen("x").intermediate_values == {GRACE: 0.3, 2 * GRACE: 0.2}


def test_the_scheduler_stops_what_the_study_stops(opened):
    search = opened(pruner="asha")
    for name in "abc":
        grown(search, name, 0.1)
    search.suggest("weak")
    pruning, trial = Pruning(search), SimpleNamespace(trial_id="weak")
    go_on = {"training_iteration": 5, "seconds_left": 1.0}
    assert pruning.on_trial_result(None, trial, go_on) == TrialScheduler.CONTINUE
    assert pruning.on_trial_result(None, trial, validated(GRACE, l1=0.5)) == TrialScheduler.STOP


def test_a_trial_whose_process_died_too_often_failed_with_the_last_error(opened, tmp_path):
    search = opened()
    search.suggest("a")
    log = tmp_path / "error.txt"
    log.write_text(
        "Failure # 1 (occurred at x)\nOSError: one\nFailure # 2 (occurred at y)\nTrace\nOSError: two\n"
    )
    pruning, trial = Pruning(search), SimpleNamespace(trial_id="a", error_file=str(log))
    for deaths in range(1, MAX_FAILURES + 2):
        trial.num_failures = deaths
        pruning.on_trial_error(None, trial)
        assert search.study.trials[0].state is TrialState.RUNNING, "Ray Tune begins it again"
    search.on_trial_complete("a", error=True)
    (trial,) = search.study.trials
    assert trial.state is TrialState.FAIL
    assert trial.user_attrs[FAILURE] == f"begun {MAX_FAILURES + 1} times: OSError: two"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Failure # 1 (occurred at x)\nValueError: bad\n\n", "ValueError: bad", id="last-line"),
        pytest.param(
            "Failure # 1 (occurred at x)\nValueError: bad\nFailure # 2 (occurred at y)\n"
            "The actor died unexpectedly before finishing this task.\n\tclass_name: SweepTrial\n",
            "its process ended, or its machine",
            id="died",
        ),
        pytest.param("", "nobody knows why", id="nothing"),
    ],
)
def test_last_error(text, expected, tmp_path):
    (tmp_path / "error.txt").write_text(text)
    assert last_error(tmp_path / "error.txt") == expected


def test_ray_tunes_own_state_is_not_kept(opened, tmp_path):
    search = opened()
    search.save(str(tmp_path / "state"))
    search.restore(str(tmp_path / "state"))
    assert not (tmp_path / "state").exists()
