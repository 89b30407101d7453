"""What people see while a sweep is under way."""

import io
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from orchestration.sweep import live_table
from orchestration.sweep.live_table import MOST_ENDED, LiveTable, Row, TrialTable, shown_value, title
from orchestration.sweep.search import FAILED
from tests.small_study import STEPS, small_plan, told

PLAN = small_plan()
FIELDS = {"model.motion_dim": 5, "optimiser.lr": 0.00123456}


def ended(number: int, *, state=TrialState.COMPLETE, plan=PLAN, **about):
    values = [0.125] * len(plan.objectives) if state is TrialState.COMPLETE else None
    return told(plan, number, FIELDS, values, state, **about)


def test_the_table_in_full():
    table = TrialTable(PLAN)
    table.take(ended(0))
    table.take(ended(1, state=TrialState.PRUNED, steps={10: 0.4, 30: 0.3}, **{"validated/l1": 0.3}))
    table.take(ended(2, state=TrialState.FAIL, failure="diverged"))
    table.rows[3] = Row(3, {**FIELDS, "model.motion_dim": 3}, 1600, 1200, {"l1": 0.25}, "running", 3661.4)
    table.rows[4] = Row(4, FIELDS, STEPS)
    assert table.text().splitlines() == [
        "trial  M        lr         step      l1     state     left",
        "    0  5  0.001235        90/90  0.1250  complete         ",
        "    1  5  0.001235        30/90  0.3000   stopped         ",
        "    2  5  0.001235         0/90            failed         ",
        "    3  3  0.001235  1,200/1,600  0.2500   running  1:01:01",
        "    4  5  0.001235         0/90          starting         ",
        "5 of 6 trials begun: 1 complete, 1 stopped, 1 failed",
    ]


def test_before_the_first_trial():
    assert TrialTable(PLAN).text() == "trial  step  l1  state  left\n0 of 6 trials begun"


def test_of_many_trials_that_ended_the_newest_are_shown_and_all_that_are_under_way():
    table = TrialTable(PLAN)
    table.rows[0] = Row(0, FIELDS, STEPS, state="running")
    for number in range(1, MOST_ENDED + 5):
        table.take(ended(number))
    assert [row.number for row in table.shown()] == [0, *range(5, MOST_ENDED + 5)]
    assert f"{MOST_ENDED + 4} complete" in table.text()


def test_what_ended_takes_over_the_row_of_what_ran():
    table = TrialTable(PLAN)
    table.rows[1] = Row(1, FIELDS, STEPS, 40, {"l1": 0.3}, "running", 17.0)
    table.take(ended(1, state=TrialState.FAIL, failure="diverged"))
    row = table.rows[1]
    assert (row.state, row.step, row.scores, row.seconds_left, row.reason) == (
        "failed",
        40,
        {"l1": 0.3},
        None,
        "diverged",
    )


def test_steps_that_are_swept_are_each_trials_own():
    plan = small_plan(space=("schedule.steps=30,60",))
    table = TrialTable(plan)
    table.take(told(plan, 0, {"schedule.steps": 30}, [0.1]))
    assert (table.rows[0].step, table.rows[0].steps) == (30, 30)


@pytest.mark.parametrize(
    ("value", "text"),
    [(5, "5"), (0.000123456, "0.0001235"), (12345.678, "1.235e+04"), (True, "True"), ("1,0.5", "1,0.5")],
)
def test_shown_value(value, text):
    assert shown_value(value) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("model.motion_dim", "M"),
        ("loss.perceptual", "lambda"),
        ("optimiser.lr", "lr"),
        ("x", "x"),
        ("loss.l1", "loss.l1"),
    ],
)
def test_title(name, shown):
    assert title(name) == shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(live_table.time, "monotonic", lambda: now.seconds)
    return now


def live(out: io.StringIO, plan=PLAN, **frozen) -> LiveTable:
    under_way = told(plan, 0, FIELDS, state=TrialState.RUNNING)
    search = SimpleNamespace(frozen=lambda trial_id: frozen.get(trial_id, under_way))
    return LiveTable(TrialTable(plan), search, out)


def started(number: int = 0):
    return SimpleNamespace(trial_id="a", config={"number": number, "fields": FIELDS})


def result(step: int, **more) -> dict:
    return {"training_iteration": step, **more}


def test_a_row_follows_its_trial(clock):
    shown = live(io.StringIO(), a=ended(0))
    row = lambda: shown.table.rows[0]  # noqa: E731
    shown.on_trial_start(0, [], started())
    assert row() == Row(0, FIELDS, STEPS)
    shown.on_trial_result(0, [], started(), result(10, seconds_left=80.0))
    assert (row().state, row().step, row().seconds_left, row().scores) == ("running", 10, 80.0, {})
    shown.on_trial_result(0, [], started(), result(20, validation=True, **{"validated/l1": 0.3}))
    assert (row().step, row().seconds_left, row().scores) == (20, 80.0, {"l1": 0.3})
    shown.on_trial_start(1, [], started())  # its process died, and another goes on with it
    assert (row().state, row().step, row().scores) == ("starting", 20, {"l1": 0.3})
    shown.on_trial_complete(0, [], started())
    assert (row().state, row().step, row().scores) == ("complete", STEPS, {"l1": 0.125})


def test_how_far_a_trial_was_that_failed_is_not_read_from_its_failure(clock):
    """Ray Tune numbers a result that has no step by itself."""
    out = io.StringIO()
    shown = live(out, a=ended(0, state=TrialState.FAIL, failure="diverged"))
    shown.on_trial_start(0, [], started())
    shown.on_trial_result(0, [], started(), result(50, seconds_left=1.0))
    shown.on_trial_result(0, [], started(), {FAILED: "diverged", "training_iteration": 7, "done": True})
    shown.on_trial_error(0, [], started())
    assert "trial 0 (M 5, lr 0.001235) failed at step 50: diverged\n" in out.getvalue()


def test_the_score_is_the_objective_and_not_what_trials_are_stopped_by(clock):
    plan = small_plan(objectives=("face_akd",))
    shown = live(io.StringIO(), plan, a=ended(0, plan=plan))
    shown.on_trial_start(0, [], started())
    shown.on_trial_result(0, [], started(), result(10, validation=True, **{"validated/l1": 0.3}))
    assert shown.table.rows[0].scores == {}
    assert "face_akd" in shown.table.text().splitlines()[0]
    shown.on_trial_result(0, [], started(), result(STEPS, done=True, **{"validated/face_akd": 1.5}))
    assert shown.table.rows[0].scores == {"face_akd": 1.5}


def test_each_of_several_objectives_has_a_column_and_is_shown_as_it_comes(clock):
    plan = small_plan(objectives=("face_akd", "l1"))
    shown = live(io.StringIO(), plan)
    shown.on_trial_start(0, [], started())
    shown.on_trial_result(0, [], started(), result(10, validation=True, **{"validated/l1": 0.3}))
    assert shown.table.rows[0].scores == {"l1": 0.3}
    shown.on_trial_result(0, [], started(), result(STEPS, **{"validated/face_akd": 1.5}))
    head, row, _ = shown.table.text().splitlines()
    assert head.split()[-4:] == ["face_akd", "l1", "state", "left"]
    assert row.split()[-3:] == ["1.5000", "0.3000", "running"]


def test_on_a_terminal_the_table_is_drawn_in_place_once_a_second(clock):
    out = Terminal()
    shown = live(out)
    shown.on_trial_start(0, [], started())
    first = out.getvalue()
    assert first == shown.table.text() + "\n"
    for step in (1, 2, 3):
        shown.on_trial_result(0, [], started(), result(step))
    assert out.getvalue() == first
    clock.seconds += 1.5
    shown.on_trial_result(0, [], started(), result(4))
    assert out.getvalue() == first + "\x1b[3F\x1b[J" + shown.table.text() + "\n"
    shown.close()
    assert out.getvalue().count("\x1b[J") == 2


def test_elsewhere_ends_are_told_each_and_the_table_once_a_minute(clock):
    out = io.StringIO()
    shown = live(out, a=ended(0))
    shown.on_trial_start(0, [], started())
    clock.seconds += 30
    shown.on_trial_result(0, [], started(), result(4))
    shown.on_trial_complete(0, [], started())
    assert out.getvalue().count("trials begun") == 1
    assert out.getvalue().endswith("trial 0 (M 5, lr 0.001235) complete at step 90, l1 0.1250\n")
    clock.seconds += 31
    shown.on_trial_start(0, [], started(1))
    assert out.getvalue().count("trials begun") == 2
    assert "\x1b" not in out.getvalue()
