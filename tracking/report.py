"""A run's result as one HTML page: it needs no server and no network, and can be sent by mail.

Pictures, videos and curves are inside the page; everything that comes from outside is escaped.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking.curves import Points, draw_curve
from tracking.run import flatten

TEMPLATE = Path(__file__).with_name("report.html")
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".mp4": "video/mp4"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures under a heading. Numbers are shown with four significant digits, None as an empty cell."""

    title: str
    """Heading."""
    columns: Sequence[str]
    """Column names."""
    rows: Sequence[Sequence[object]]
    """One sequence a row, as long as `columns`."""
    note: str = ""
    """A sentence below, such as the protocol."""


@dataclass(frozen=True, kw_only=True)
class Medium:
    """A picture (PNG, JPEG) or video (mp4) under a caption."""

    path: Path
    """The file."""
    caption: str
    """What it shows."""


def report(
    title: str,
    *,
    summary: str = "",
    config: Mapping[str, Any] | None = None,
    tables: Sequence[Table] = (),
    curves: Mapping[str, Points] | None = None,
    media: Sequence[Medium] = (),
) -> str:
    """The page's HTML: summary, tables, media, curves ({name: [(step, value)]}) and the configuration.

    Raises ValueError for a medium of another type, OSError for one that cannot be read.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["figure"] = shown_figure
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return page.render(
        title=title,
        summary=summary,
        tables=tables,
        media=[_embedded(medium) for medium in media],
        curves=[(name, draw_curve(name, points)) for name, points in (curves or {}).items()],
        config=flatten(config or {}),
    )


def shown_figure(value: object) -> str:
    """A table cell: floats with four significant digits, None as nothing, the rest as text."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _embedded(medium: Medium) -> dict[str, str]:
    kind = MEDIA_TYPES.get(medium.path.suffix.lower())
    if kind is None:
        raise ValueError(f"{medium.path}: a report shows {', '.join(MEDIA_TYPES)} only")
    data = base64.b64encode(medium.path.read_bytes()).decode("ascii")
    return {"kind": kind.partition("/")[0], "uri": f"data:{kind};base64,{data}", "caption": medium.caption}
