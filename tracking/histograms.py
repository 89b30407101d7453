"""How values are distributed, as inline SVG: bars over bins with round edges, no scripts."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from tracking.curves import Scale, shown_tick, svg_text, ticks

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 26, 42
MOST_BINS = 24
LABELS = 6
OCTAVES = 4
BINS_AN_OCTAVE = 4
_GAP = 1.5
_ALIKE = 1e-9
"""Values nearer to one another than this part of the largest are drawn as one value."""

Series = Mapping[str, NDArray[np.number]]
"""Values by name; the bars of several series stand on one another."""


@dataclass(frozen=True)
class Bins:
    """Neighbouring bins, all drawn equally wide."""

    edges: NDArray[np.floating]
    """One more than there are bins, rising. The last bin holds values at its upper edge too."""
    labels: dict[int, str]
    """What to write under some of the edges, by their index."""


def round_bins(series: Series, *, whole: bool = False) -> Bins:
    """Up to about MOST_BINS bins between round numbers; `whole` for counts, whose bins have whole edges."""
    values = _together(series)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    largest = max(abs(low), abs(high))
    if high - low <= max(sys.float_info.min, largest * _ALIKE):
        step = 1.0 if whole or largest <= sys.float_info.min else 10.0 ** math.floor(math.log10(largest))
    else:
        rough = ticks(low, high, MOST_BINS)
        step = rough[1] - rough[0] if len(rough) > 1 else high - low
        step = max(1.0, round(step)) if whole else step
    first, last = math.floor(low / step + 1e-9), math.floor(high / step + 1e-9) + 1
    edges = np.arange(first, last + 1) * step
    every = max(1, math.ceil(len(edges) / LABELS))
    labels = {i: shown_tick(float(f"{edge:.6g}")) for i, edge in enumerate(edges) if (first + i) % every == 0}
    return Bins(edges, labels)


def octave_bins(series: Series) -> Bins:
    """Bins for ratios, a quarter of a doubling wide, around 1; those beyond 16 or 1/16 go into the outer ones."""
    powers = np.log2(np.append(_together(series), 1.0)).clip(-OCTAVES, OCTAVES)
    lowest, highest = min(-1, math.floor(powers.min())), max(1, math.ceil(powers.max()))
    exponents = np.arange(lowest * BINS_AN_OCTAVE, highest * BINS_AN_OCTAVE + 1) / BINS_AN_OCTAVE
    labels = {
        (power - lowest) * BINS_AN_OCTAVE: f"{2**power}×" if power >= 0 else f"1/{2**-power}×"
        for power in range(lowest, highest + 1)
    }
    return Bins(2.0**exponents, labels)


def draw_histogram(name: str, series: Series, bins: Bins, *, what: str) -> str:
    """The SVG of how many values fall into each bin; `what` names the axis. Without values it says so."""
    if not len(_together(series)):
        text = svg_text(WIDTH / 2, HEIGHT / 2, "no values", "middle")
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}">{text}</svg>'
    counts = {key: _counted(values, bins.edges) for key, values in series.items() if len(values)}
    highest = int(np.sum(list(counts.values()), axis=0).max())
    y_ticks = [tick for tick in ticks(0, highest, 4) if tick == round(tick)]
    x = Scale(0, len(bins.edges) - 1, LEFT, WIDTH - RIGHT)
    y = Scale(0, max(highest, y_ticks[-1]), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        + svg_text(LEFT - 6, y(tick) + 4, shown_tick(tick), "end")
        for tick in y_ticks
    ]
    parts += _bars(counts, bins, x, y, what)
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    parts += [svg_text(x(index), base + 16, label, "middle") for index, label in bins.labels.items()]
    parts.append(svg_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, what, "middle"))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
        + "".join([*parts, *_legend(list(counts))])
        + "</svg>"
    )


def _together(series: Series) -> NDArray[np.float64]:
    return np.concatenate([np.empty(0), *(np.asarray(values, np.float64) for values in series.values())])


def _counted(values: NDArray[np.number], edges: NDArray[np.floating]) -> NDArray[np.int64]:
    """Values in each bin; what lies outside goes into the first or last."""
    index = np.searchsorted(edges, np.asarray(values, np.float64), side="right") - 1
    return np.bincount(index.clip(0, len(edges) - 2), minlength=len(edges) - 1)


def _bars(counts: Mapping[str, NDArray[np.int64]], bins: Bins, x: Scale, y: Scale, what: str) -> list[str]:
    bars = []
    below = np.zeros(len(bins.edges) - 1, np.int64)
    for number, (name, heights) in enumerate(counts.items()):
        for index in np.flatnonzero(heights).tolist():
            top, bottom = y(below[index] + heights[index]), y(below[index])
            low, high = (f"{edge:.6g}" for edge in bins.edges[index : index + 2])
            title = escape(f"{low} to {high} ({what}): {heights[index]} {name}")
            bars.append(
                f'<rect class="series{number}" x="{x(index) + _GAP / 2:.1f}" y="{top:.1f}" '
                f'width="{max(1.0, x(index + 1) - x(index) - _GAP):.1f}" height="{bottom - top:.1f}">'
                f"<title>{title}</title></rect>"
            )
        below = below + heights
    return bars


def _legend(names: list[str]) -> list[str]:
    """Which colour is which, above the bars at the right."""
    if len(names) < 2:
        return []
    parts, right = [], float(WIDTH - RIGHT)
    for number, name in reversed(list(enumerate(names))):
        parts.append(svg_text(right, 14, name, "end"))
        right -= 7.0 * len(name) + 16
        parts.append(f'<rect class="series{number}" x="{right:.1f}" y="5" width="10" height="10"/>')
        right -= 12
    return parts
