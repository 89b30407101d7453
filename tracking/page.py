"""HTML pages that need no server and no network: all that they show is inside, all that comes from outside escaped.

A page's template extends page.html, which holds style and frame; parts.html has macros for tables.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).parent


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


def render_page(template: Path, *, title: str, summary: str = "", **values: object) -> str:
    """The HTML that a template makes of `values`; text is escaped unless the template marks it as safe."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["figure"] = shown_figure
    return environment.get_template(template.name).render(title=title, summary=summary, **values)


def shown_figure(value: object) -> str:
    """A table cell: floats with four significant digits, None as nothing, the rest as text."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def data_uri(kind: str, data: bytes) -> str:
    """A file's content as an address, for instance of kind image/jpeg."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
