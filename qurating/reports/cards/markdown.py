"""Model cards in Markdown: their templates, and names and texts that cannot write them."""

import html
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from qurating.reports.numbers import readable


def template(name: str, filters: Mapping[str, Callable[..., str]] | None = None) -> jinja2.Template:
    """A template of a card; besides `filters` it has `plain`, which is `escaped`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": escaped, **(filters or {})}
    return environment.get_template(name)


def escaped(text: Any) -> str:
    """Text escaped for Markdown, on one line: nothing in it becomes a tag, link, mark-up or table."""
    flat = " ".join(readable(text).split())
    flat = re.sub(r"[\\`*_{}\[\]()#+!|~$@:^]", lambda found: f"&#{ord(found[0])};", html.escape(flat, quote=False))
    # beginnings of lists, and addresses that GitHub turns into links
    flat = re.sub(r"^(\d*)([.=-])(?=[=-]|\s|$)", lambda found: f"{found[1]}&#{ord(found[2])};", flat)
    return re.sub(r"(?i)www\.", "www&#46;", flat)
