"""A run's result as one HTML page: it needs no server and no network, and can be sent by mail.

Pictures, videos and curves are inside the page; everything that comes from outside is escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking.curves import Points, draw_curve
from tracking.page import Table, data_uri, render_page
from tracking.run import flatten

TEMPLATE = Path(__file__).with_name("report.html")
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".mp4": "video/mp4"}


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
    return render_page(
        TEMPLATE,
        title=title,
        summary=summary,
        tables=tables,
        media=[_embedded(medium) for medium in media],
        curves=[(name, draw_curve(name, points)) for name, points in (curves or {}).items()],
        config=flatten(config or {}),
    )


def _embedded(medium: Medium) -> dict[str, str]:
    kind = MEDIA_TYPES.get(medium.path.suffix.lower())
    if kind is None:
        raise ValueError(f"{medium.path}: a report shows {', '.join(MEDIA_TYPES)} only")
    uri = data_uri(kind, medium.path.read_bytes())
    return {"kind": kind.partition("/")[0], "uri": uri, "caption": medium.caption}
