import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.curves import HEIGHT, LEGEND_ROW, WIDTH, draw_curve, draw_curves, shown_tick, thinned, ticks

FINITE = st.floats(-1e12, 1e12)


def elements(points):
    return list(ElementTree.fromstring(draw_curve("a curve", points)).iter())


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(0, 1300, [0, 500, 1000], id="steps"),
        pytest.param(0, 5, [0, 1, 2, 3, 4, 5], id="ones"),
        pytest.param(0.06, 0.37, [0.1, 0.2, 0.3], id="fractions"),
        pytest.param(-1, 1, [-1, -0.5, 0, 0.5, 1], id="around-zero"),
        pytest.param(7, 7, [7], id="single"),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high, 5) == pytest.approx(expected)


@given(low=FINITE, span=st.floats(1e-6, 1e12))
def test_ticks_lie_inside_and_are_few(low, span):
    high = low + span
    found = ticks(low, high, 5)
    assert len(found) <= 8
    slack = (
        1e-6 * span + math.ulp(high) + math.ulp(low)
    )  # far from zero numbers lie further apart than the span
    assert all(low - slack <= tick <= high + slack for tick in found)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.05, "0.05"),
        (0.30000000000000004, "0.3"),
        (1200, "1200"),
        (20000, "20k"),
        (1.5e6, "1.5M"),
        (-3e-7, "-3e-07"),
    ],
)
def test_tick_labels(value, shown):
    assert shown_tick(value) == shown


@given(st.lists(st.tuples(st.integers(0, 10**7), FINITE), min_size=1, max_size=50))
def test_curves_stay_inside_the_picture(points):
    for element in elements(sorted(points)):
        for pair in re.findall(r"(-?[\d.]+),(-?[\d.]+)", element.get("points", "")):
            assert 0 <= float(pair[0]) <= WIDTH
            assert 0 <= float(pair[1]) <= HEIGHT


def test_falling_values_fall():
    line = next(e for e in elements([(0, 1.0), (10, 0.5)]) if e.get("class") == "curve")
    (x0, y0), (x1, y1) = ([float(n) for n in pair.split(",")] for pair in line.get("points").split())
    assert x0 < x1
    assert y0 < y1


def test_values_that_are_not_finite_leave_a_gap():
    classes = [
        e.get("class")
        for e in elements([(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0), (4, math.inf), (5, 2.0)])
    ]
    assert classes.count("curve") == 1
    assert classes.count("point") == 2


@pytest.mark.parametrize("points", [[], [(0, math.nan)]])
def test_curve_without_values_says_so(points):
    assert "no values" in draw_curve("x", points)


def test_name_is_escaped():
    assert ElementTree.fromstring(draw_curve('<a> "b"', [(0, 1.0)])).get("aria-label") == '<a> "b"'


def test_several_curves_share_axes_and_have_a_legend():
    drawing = draw_curves("loss", {"a": [(0, 0.0), (10, 1.0)], "b <i>": [(0, 2.0), (20, 4.0)], "c": []})
    root = ElementTree.fromstring(drawing)
    lines = [root.find(f"g[@class='series{number}']/polyline") for number in range(3)]
    ends = [
        [float(n) for n in line.get("points").split()[-1].split(",")] for line in lines if line is not None
    ]
    assert lines[2] is None
    assert len(ends) == 2
    assert ends[0][0] < ends[1][0] <= WIDTH
    assert ends[0][1] > ends[1][1] > LEGEND_ROW
    labels = [group.findtext("text") for group in root.findall("g") if group.find("text") is not None]
    assert labels == ["a", "b <i>", "c (no values)"]
    assert root.get("viewBox") == f"0 0 {WIDTH} {HEIGHT + LEGEND_ROW}"


def test_a_long_legend_takes_more_rows_and_stays_inside():
    series = {f"{number}{'x' * 60}": [(0, 0.0), (1, float(number))] for number in range(8)}
    root = ElementTree.fromstring(draw_curves("loss", series))
    height = float(root.get("viewBox").split()[3])
    assert height > HEIGHT + 3 * LEGEND_ROW
    for text in root.findall("g/text"):
        assert float(text.get("x")) + 6.5 * len(text.text) <= WIDTH
        assert float(text.get("y")) < height - HEIGHT + 12
    assert all(
        0 <= float(y) <= height
        for line in root.findall("g/polyline")
        for y in re.findall(r",([\d.]+)", line.get("points"))
    )


def test_thinning_keeps_ends_of_the_range_and_order():
    points = [(step, math.sin(step / 50)) for step in range(10_000)] + [
        (10_000, 5.0),
        (10_001, -5.0),
        (10_002, 0.0),
    ]
    kept = thinned(points)
    assert len(kept) <= 1001
    assert kept[-1] == points[-1]
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    assert (10_000, 5.0) in kept
    assert (10_001, -5.0) in kept
    assert thinned(points[:100]) == points[:100]


def test_thinning_keeps_gaps():
    points = [(step, math.nan if 4000 <= step < 6000 else 1.0) for step in range(10_000)]
    assert any(math.isnan(value) for _, value in thinned(points))
