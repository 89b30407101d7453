import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracking.histograms import HEIGHT, WIDTH, draw_histogram, octave_bins, round_bins

VALUES = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60)


def bars(drawing):
    """Class, place and hover text of each bar; the legend's squares have none."""
    rects = ElementTree.fromstring(drawing).findall("rect")
    return [(rect.attrib, rect.findtext("title")) for rect in rects if rect.find("title") is not None]


@given(VALUES)
def test_every_value_is_in_one_of_a_few_bins(values):
    bins = round_bins({"a": np.array(values)})
    assert 2 <= len(bins.edges) <= 60
    assert np.all(np.diff(bins.edges) > 0)
    step = bins.edges[1] - bins.edges[0]
    assert bins.edges[0] - 1e-6 * step <= min(values)
    assert max(values) <= bins.edges[-1] + 1e-6 * step
    counted = [
        int(text.split(": ")[1].split()[0])
        for _, text in bars(draw_histogram("x", {"a": np.array(values)}, bins, what=""))
    ]
    assert sum(counted) == len(values)


@given(VALUES, VALUES)
@example([5e-324], [5e-324])
@example([0.0], [5e-324])
@example([1.0], [1.0000000000000002])
def test_bars_stay_inside_the_picture(one, two):
    series = {"one": np.array(one), "two": np.array(two)}
    for place, _ in bars(draw_histogram("x", series, round_bins(series), what="px")):
        x, y, width, height = (float(place[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= WIDTH
        assert 0 <= y <= y + height <= HEIGHT


def test_counts_have_whole_edges():
    bins = round_bins({"frames": np.array([3, 4, 5, 6])}, whole=True)
    assert bins.edges.tolist() == [3, 4, 5, 6, 7]


def test_series_stand_on_one_another():
    series = {"train": np.array([1, 1, 2]), "test": np.array([1])}
    drawn = bars(draw_histogram("x", series, round_bins(series, whole=True), what="px"))
    assert [text for _, text in drawn] == [
        "1 to 2 (px): 2 train",
        "2 to 3 (px): 1 train",
        "1 to 2 (px): 1 test",
    ]
    first, _, stacked = (place for place, _ in drawn)
    assert float(stacked["y"]) + float(stacked["height"]) == pytest.approx(float(first["y"]), abs=0.2)


def test_ratios_lie_in_octaves_around_one():
    bins = octave_bins({"a": np.array([0.3, 1.4, 1000])})
    assert (bins.edges[0], bins.edges[-1]) == (0.25, 16)
    assert list(bins.labels.values()) == ["1/4×", "1/2×", "1×", "2×", "4×", "8×", "16×"]
    assert bins.edges[list(bins.labels)[2]] == 1
    assert [
        text.split(": ")[1] for _, text in bars(draw_histogram("x", {"a": np.array([1000.0])}, bins, what=""))
    ] == ["1 a"]


def test_without_values_it_says_so():
    assert "no values" in draw_histogram("x", {"a": np.empty(0)}, round_bins({"a": np.empty(0)}), what="")
    assert octave_bins({}).edges.tolist()[0] == 0.5


def test_names_are_escaped():
    drawing = draw_histogram('"<b>', {"<i>": np.ones(1), "&": np.ones(1)}, octave_bins({}), what="<u>")
    assert not {"b", "i", "u"} & {element.tag for element in ElementTree.fromstring(drawing).iter()}
