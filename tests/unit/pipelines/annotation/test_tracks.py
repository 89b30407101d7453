"""Tracks from detections: the published rule as tables, and what must hold whatever is detected."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.regions import Region
from pipelines.annotation.tracks import Track, Tracker

CONFIG = AnnotateConfig(min_frames=1)


def square(left: float, side: float = 10.0, top: float = 0.0) -> Region:
    return Region(left, top, left + side, top + side)


def follow(looks, config: AnnotateConfig = CONFIG, cuts=()) -> list[Track]:
    """Tracks of a sequence of frames, each a list of boxes or None, numbered from 0."""
    tracker, tracks = Tracker(config), []
    for number, regions in enumerate(looks):
        if number in cuts:
            tracks += tracker.cut(number)
        tracks += tracker.step(number, regions)
    return sorted(tracks + tracker.finish())


def spans(tracks: list[Track]) -> list[tuple[int, int]]:
    return [(track.start, track.end) for track in tracks]


HERE, FAR = square(0), square(100)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([[HERE]] * 5, [(0, 5)], id="stays"),
        pytest.param([[]] * 3, [], id="nobody"),
        pytest.param([[], [HERE], [HERE], []], [(1, 3)], id="comes-and-goes"),
        pytest.param([[HERE], [], [HERE]], [(0, 1), (2, 3)], id="one-miss-ends-it"),
        pytest.param([[HERE, FAR]] * 4, [(0, 4), (0, 4)], id="two-people"),
        pytest.param([[HERE, FAR], [FAR, HERE]], [(0, 2), (0, 2)], id="order-of-detections-is-nothing"),
        # Overlap with the first box of side 10, shifted by x: (10-x)/(10+x), a quarter at x = 6.
        pytest.param([[square(x)] for x in (0, 3, 6)], [(0, 3)], id="a-quarter-still-counts"),
        pytest.param([[square(x)] for x in (0, 3, 6.1)], [(0, 2), (2, 3)], id="less-than-a-quarter-ends-it"),
        pytest.param([[square(x)] for x in (0, 5, 10, 15)], [(0, 2), (2, 4)], id="the-first-box-counts"),
    ],
)
def test_published_rule(looks, expected):
    assert spans(follow(looks)) == expected


def test_a_track_ends_at_the_longest_length_and_the_next_begins_there():
    assert spans(follow([[HERE]] * 25, replace(CONFIG, max_frames=10))) == [(0, 10), (10, 20), (20, 25)]


def test_a_cut_ends_all_tracks():
    assert spans(follow([[HERE, FAR]] * 6, cuts={2})) == [(0, 2), (0, 2), (2, 6), (2, 6)]


def test_a_frame_whose_number_a_cut_repeats_belongs_to_neither_shot():
    tracker = Tracker(CONFIG)
    tracker.step(0, [HERE])
    tracker.step(1, [HERE])
    assert spans(tracker.cut(1)) == [(0, 1)]
    tracker.step(2, [HERE])
    assert spans(tracker.cut(2)) == []


def test_the_region_holds_every_box():
    (track,) = follow([[square(0)], [square(-2, 12)], [square(3, top=-1)]])
    assert track.region == Region(-2, -1, 13, 12)


@pytest.mark.parametrize(
    ("misses", "expected"), [(0, [(0, 2), (4, 6)]), (1, [(0, 2), (4, 6)]), (2, [(0, 6)])]
)
def test_misses_allowed(misses, expected):
    looks = [[HERE], [HERE], [], [], [HERE], [HERE]]
    assert spans(follow(looks, replace(CONFIG, max_misses=misses))) == expected


def test_looking_at_every_third_frame():
    looks = [[HERE] if number % 3 == 0 else None for number in range(11)]
    assert spans(follow(looks, replace(CONFIG, detect_every=3))) == [(0, 10)]


def test_the_way_between_two_looks_must_keep_to_the_first_box():
    # Flat, then upright: both have a quarter of the first box in common, what lies between does not.
    first, flat, upright = square(0), Region(0, 0, 40, 10), Region(0, 0, 10, 40)
    every = replace(CONFIG, detect_every=4)
    looks = [[first], None, None, None, [flat], None, None, None, [upright]]
    assert spans(follow(looks, every)) == [(0, 5), (8, 9)]
    assert spans(follow([[first], [flat], [upright]])) == [(0, 3)]


def test_looking_rarely_finds_what_looking_always_finds_where_people_move_steadily():
    looks = [[square(number / 5)] for number in range(41)]
    rarely = [regions if number % 4 == 0 else None for number, regions in enumerate(looks)]
    assert follow(rarely, replace(CONFIG, detect_every=4))[0].start == follow(looks)[0].start
    always, seldom = follow(looks)[0], follow(rarely, replace(CONFIG, detect_every=4))[0]
    assert always.end - 4 < seldom.end <= always.end


boxes = st.builds(square, st.floats(0, 60, width=32), st.floats(1, 40, width=32), st.floats(0, 30, width=32))
frames = st.lists(st.none() | st.lists(boxes, max_size=3), max_size=40)


@given(frames, st.sets(st.integers(0, 39), max_size=5), st.integers(0, 2), st.integers(1, 12))
def test_no_track_crosses_a_cut_or_is_too_long(looks, cuts, misses, longest):
    config = replace(CONFIG, max_misses=misses, max_frames=longest, detect_every=2)
    for track in follow(looks, config, cuts):
        assert 0 <= track.start < track.end <= len(looks)
        assert not [cut for cut in cuts if track.start < cut < track.end]
        assert track.end - track.start <= longest


@given(st.lists(st.lists(boxes, max_size=3), max_size=30))
def test_each_box_belongs_to_one_track(looks):
    tracks = follow(looks)
    for number, regions in enumerate(looks):
        assert sum(track.start <= number < track.end for track in tracks) == len(regions)


def test_memory_does_not_grow_with_the_video():
    tracker = Tracker(replace(CONFIG, detect_every=5, max_misses=3))
    for number in range(50_000):
        tracker.step(number, [HERE] if number % 5 == 0 else None)
    assert len(tracker._recent) <= 20
    assert len(tracker._open) == 1
