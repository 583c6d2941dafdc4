"""HTML pages from templates that escape every value."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qurating.reports.numbers import interval, number, percent, readable, seconds, short_count


def _as_url(image: str | bytes) -> str:
    """An SVG (text) or a PNG (bytes) as a data URL."""
    kind, content = ("svg+xml", image.encode()) if isinstance(image, str) else ("png", image)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def render(content: Mapping[str, Any], template: str = "comparison.html.jinja") -> str:
    """The HTML of a page; the template escapes every value of `content`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        number=number,
        percent=percent,
        interval=interval,
        count=short_count,
        seconds=seconds,
        whole=lambda value: "–" if value is None else f"{value:,}",
        readable=readable,
        share=lambda value: "–" if value is None else f"{100 * value:.1f}",
        # an SVG in an image element cannot run scripts, which a hostile name may have put into it
        image=_as_url,
    )
    return environment.get_template(template).render(content)
