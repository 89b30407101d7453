"""A metric over training steps, of one run or several, as inline SVG: axes with round numbers, no scripts."""

import math
import sys
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[int, float]]

WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 12, 40
MAX_POINTS = 1000
"""More than two points a pixel change nothing but the page's size."""
LEGEND_ROW = 18
_LONGEST_NAME = 40
_CHARACTER = 6.5
"""About how wide a letter of a label is."""


def draw_curve(name: str, points: Points) -> str:
    """The SVG of one curve. Points that are not finite leave a gap; without any point it says so."""
    return draw_curves(name, {"": points})


def draw_curves(name: str, series: Mapping[str, Points]) -> str:
    """The SVG of curves by name over the same axes: groups of class series0, series1 and so on, in the order given.

    Several have a legend above them, which also says which of them have no values.
    """
    finite = [point for points in series.values() for point in _finite(points)]
    if not finite:
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}">{svg_text(WIDTH / 2, HEIGHT / 2, "no values", "middle")}</svg>'
    steps, values = [step for step, _ in finite], [value for _, value in finite]
    x_ticks, y_ticks = ticks(min(steps), max(steps), 6), ticks(min(values), max(values), 5)
    legend, above = _legend(series)
    height = HEIGHT + above
    x = Scale(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    y = Scale(min(*y_ticks, *values), max(*y_ticks, *values), height - BOTTOM, TOP + above)
    grid = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        + svg_text(LEFT - 8, y(tick) + 4, shown_tick(tick), "end")
        for tick in y_ticks
    ]
    labels = [svg_text(x(tick), height - BOTTOM + 18, shown_tick(tick), "middle") for tick in x_ticks]
    axis = (
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height - BOTTOM}" y2="{height - BOTTOM}"/>'
    )
    labels.append(svg_text((LEFT + WIDTH - RIGHT) / 2, height - 4, "step", "middle"))
    curves = [
        f'<g class="series{number}">{"".join(_line(stretch, x, y) for stretch in _stretches(thinned(points)))}</g>'
        for number, points in enumerate(series.values())
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(name)}">'
        + "".join([*legend, *grid, axis, *labels, *curves])
        + "</svg>"
    )


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """About `wanted` round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / wanted
    if rough < sys.float_info.min:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def shown_tick(value: float) -> str:
    """A short label: 0.05, 1200, 20k, 1.5M, 3e-07."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * unit or (abs(value) >= unit and unit == 1e6):
            return f"{value / unit:.6g}{letter}"
    return f"{value:.6g}"


def thinned(points: Points, most: int = MAX_POINTS) -> Points:
    """At most about `most` points with the same look: each stretch's lowest and highest, and the last."""
    if len(points) <= most:
        return points
    length = math.ceil(2 * len(points) / most)
    kept: list[tuple[int, float]] = []
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        kept += sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


class Scale:
    """Values to pixels. A single value lies in the middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.span, self.start, self.end = low, high - low, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / self.span if self.span else 0.5
        return self.start + share * (self.end - self.start)


def _legend(series: Mapping[str, Points]) -> tuple[list[str], int]:
    """Which curve is which, in as many rows as it takes, and how high that is."""
    if len(series) < 2:
        return [], 0
    parts, left, row = [], float(LEFT), 1
    for number, (name, points) in enumerate(series.items()):
        text = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."
        text += "" if _finite(points) else " (no values)"
        width = 22 + _CHARACTER * len(text)
        if left > LEFT and left + width > WIDTH:
            left, row = float(LEFT), row + 1
        y = row * LEGEND_ROW - 4
        key = f'<line class="curve" x1="{left:.1f}" x2="{left + 16:.1f}" y1="{y - 4}" y2="{y - 4}"/>'
        parts.append(f'<g class="series{number}">{key}{svg_text(left + 22, y, text, "start")}</g>')
        left += width + 16
    return parts, row * LEGEND_ROW


def _finite(points: Points) -> list[tuple[int, float]]:
    return [(step, value) for step, value in points if math.isfinite(value)]


def _stretches(points: Points) -> list[list[tuple[int, float]]]:
    """The runs of finite points between those that are not."""
    runs: list[list[tuple[int, float]]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(points: Sequence[tuple[int, float]], x: Scale, y: Scale) -> str:
    if len(points) == 1:
        return f'<circle class="point" cx="{x(points[0][0]):.1f}" cy="{y(points[0][1]):.1f}" r="3"/>'
    path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    return f'<polyline class="curve" points="{path}"/>'


def svg_text(x: float, y: float, text: str, anchor: str) -> str:
    """A label; the text is escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
