"""When attempts begin, by a clock that tests turn."""

import math

import pytest

from pipelines.download.config import RETRY_AFTER_LIMIT_SECONDS, DownloadConfig
from pipelines.download.reasons import Refused
from pipelines.download.schedule import Schedule


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def schedule(clock, video_ids, luck=1.0, **settings):
    config = DownloadConfig(**{"per_minute": 0, "backoff_seconds": 8} | settings)
    return Schedule(video_ids, config, clock, lambda: luck)


def starts(running, clock, until: float, step: float = 0.25):
    """The times of all starts up to `until`, and what starts."""
    found = []
    while clock.now <= until:
        while video_id := running.start():
            found.append((clock.now, video_id))
        clock.now += step
    return found


@pytest.mark.parametrize("reason", ["login_required", "geo_blocked"])
def test_answers_about_who_asks_are_not_asked_for_again_and_stop_nothing(clock, reason):
    running = schedule(clock, "abc", failures_in_a_row=1)
    assert not running.failed(running.start(), Refused(reason, ""))
    assert not running.stopped
    assert [running.start() for _ in range(3)] == ["b", "c", None]


def test_without_a_limit_all_start_in_order(clock):
    running = schedule(clock, "abc")
    assert [running.start() for _ in range(4)] == ["a", "b", "c", None]
    assert running.wait_seconds() == math.inf


def test_starts_keep_the_rate(clock):
    running = schedule(clock, map(str, range(50)), per_minute=30)
    times = [time for time, _ in starts(running, clock, until=1060)]
    assert times == [1000 + 2 * number for number in range(31)]


def test_a_pause_is_not_made_up_for(clock):
    running = schedule(clock, "abcdef", per_minute=30)
    running.start()
    clock.now += 600
    assert running.start() == "b"
    assert running.start() is None
    assert running.wait_seconds() == 2


def test_further_attempts_count_against_the_rate(clock):
    running = schedule(clock, "ab", per_minute=1, backoff_seconds=1)
    assert running.start() == "a"
    assert running.failed("a", Refused("connection", ""))
    assert [start for _, start in starts(running, clock, until=1200)] == ["b", "a"]


@pytest.mark.parametrize(
    ("luck", "waits"),
    [pytest.param(1.0, [8, 16, 30, 30], id="longest"), pytest.param(0.0, [4, 8, 15, 15], id="shortest")],
)
def test_waits_double_up_to_a_limit_and_vary(clock, luck, waits):
    running = schedule(clock, "a", luck=luck, backoff_limit_seconds=30, attempts=5)
    for wait in waits:
        assert running.start() == "a"
        assert running.failed("a", Refused("server_error", ""))
        assert running.wait_seconds() == wait
        clock.now += wait
    assert running.start() == "a"
    assert not running.failed("a", Refused("server_error", ""))
    assert running.attempts["a"] == 5
    assert running.wait_seconds() == math.inf


@pytest.mark.parametrize("reason", ["not_found", "private", "removed", "other", "damaged", "no_format"])
def test_what_will_not_pass_is_not_tried_again(clock, reason):
    running = schedule(clock, "a")
    running.start()
    assert not running.failed("a", Refused(reason, ""))
    assert running.wait_seconds() == math.inf


def test_too_many_requests_hold_every_video(clock):
    running = schedule(clock, "abc", attempts=1)
    running.start()
    running.failed("a", Refused("rate_limited", "", retry_after_s=100))
    assert running.start() is None
    assert running.wait_seconds() == 100
    clock.now += 100
    assert running.start() == "b"


def test_other_failures_hold_only_their_own(clock):
    running = schedule(clock, "ab")
    running.start()
    running.failed("a", Refused("server_error", ""))
    assert running.start() == "b"


def test_a_server_cannot_ask_for_ever(clock):
    running = schedule(clock, "a")
    running.start()
    running.failed("a", Refused("rate_limited", "", retry_after_s=1e9))
    assert running.wait_seconds() == RETRY_AFTER_LIMIT_SECONDS


def test_failures_in_a_row_stop_the_run(clock):
    running = schedule(clock, map(str, range(9)), failures_in_a_row=3)
    for number in range(3):
        assert not running.stopped
        running.failed(running.start(), Refused(("connection", "other", "refused")[number], ""))
    assert running.stopped
    assert running.start() is None
    assert running.wait_seconds() == math.inf


@pytest.mark.parametrize("answer", ["fetched", "dead"])
def test_an_answer_that_is_final_breaks_the_row(clock, answer):
    running = schedule(clock, map(str, range(9)), failures_in_a_row=2)
    for _ in range(3):
        running.failed(running.start(), Refused("connection", ""))
        running.settled() if answer == "fetched" else running.failed(running.start(), Refused("removed", ""))
    assert not running.stopped
