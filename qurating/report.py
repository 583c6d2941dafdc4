"""What a person sees of a comparison: a table for the terminal, and the page.

Light to import, since run.py prints the table.
"""

import base64
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_COLUMNS = 140
MINUS = "\N{MINUS SIGN}"


def format_table(rows: Sequence[Mapping[str, Any]], max_columns: int = MAX_COLUMNS) -> str:
    """The rows of table.json as aligned text: method, tokens, perplexity, change against uniform, and by domain.

    Domains that do not fit are left out, and counted below; control characters in names are replaced.
    """
    if not rows:
        return "(no cell to compare)"
    domains = domains_by_size(rows)
    columns = [
        (["method"], [_plain(row["method"]) for row in rows]),
        (["tokens"], [short_count(row["tokens"]) for row in rows]),
        (["perplexity"], [number(row["perplexity"]) for row in rows]),
        (["change in %", "[95% interval]"], [_change(row) for row in rows]),
    ]
    methods = columns[0][1]
    room = max_columns - sum(2 + max(map(len, [*head, *cells])) for head, cells in columns[1:])
    width = max(len("method"), max(map(len, methods)))
    by_domain = [
        (_two_lines(name), [number(row["domains"].get(name, {}).get("perplexity")) for row in rows]) for name in domains
    ]
    widths = [2 + max(map(len, [*head, *cells])) for head, cells in by_domain]
    # long names give way down to 24 characters, then domains do
    kept = len(by_domain)
    while kept and sum(widths[:kept]) + min(width, 24) > room:
        kept -= 1
    width = min(width, max(12, room - sum(widths[:kept])))
    columns[0] = (["method"], [_cut(name, width) for name in methods])
    lines = _aligned(columns + by_domain[:kept])
    notes = []
    if kept < len(domains):
        notes.append(f"{len(domains) - kept} more domains are in table.csv.")
    if not any(row["is_reference"] for row in rows):
        notes.append("There is no uniform cell to hold the others against.")
    labels = sorted({_plain(label) for row in rows for label in row["labels"]})
    if labels:
        notes.append(f"Note: {', '.join(labels)}.")
    return "\n".join([*lines, *notes])


def _aligned(columns: Sequence[tuple[list[str], list[str]]]) -> list[str]:
    """Lines of a table: heads of one or two lines set at the bottom, the first column left, the others right."""
    depth = max(len(head) for head, _ in columns)
    full = [[""] * (depth - len(head)) + head + cells for head, cells in columns]
    padded = [
        [cell.ljust(width) if place == 0 else cell.rjust(width) for cell in column]
        for place, column in enumerate(full)
        for width in [max(map(len, column))]
    ]
    lines = ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    return [*lines[:depth], "─" * max(map(len, lines)), *lines[depth:]]


def domains_by_size(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The held-out domains of all rows, those with most tokens first."""
    sizes: dict[str, int] = {}
    for row in rows:
        for name, measures in row["domains"].items():
            sizes[name] = max(sizes.get(name, 0), measures["num_heldout_tokens"])
    return sorted(sizes, key=lambda name: (-sizes[name], name))


def _change(row: Mapping[str, Any]) -> str:
    if row["is_reference"]:
        return "baseline"
    return f"{percent(row['change_percent'])} {interval(row)}".strip()


def _plain(text: Any) -> str:
    return readable(text).replace("\n", " ").replace("\t", " ")


def _cut(text: str, width: int) -> str:
    keep = (width - 1) // 2
    return text if len(text) <= width else f"{text[:keep]}…{text[-(width - 1 - keep) :]}"


def _two_lines(name: str) -> list[str]:
    """A domain's name as a head of at most two lines of ten characters: language_reference -> language, reference."""
    words = _plain(name).replace("-", "_").split("_", 1)
    return [_cut(word.replace("_", " ").strip() or "_", 10) for word in words]


def number(value: float | None) -> str:
    """Four figures at least: 12.34, 123.4, 1,234; – where there is none."""
    if value is None:
        return "–"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A signed change with one or two decimals and a true minus."""
    if value is None:
        return "–"
    return f"{value:+.{2 if abs(value) < 10 else 1}f}".replace("-", MINUS)


def interval(row: Mapping[str, Any]) -> str:
    low, high = row["change_low"], row["change_high"]
    return "" if low is None or high is None else f"[{percent(low)}, {percent(high)}]"


def short_count(value: float | None) -> str:
    """A count in three figures: 987, 12.3K, 4.56M, 30.0B."""
    if value is None:
        return "–"
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        # what rounds to 1000 of one letter is 1.00 of the next
        if value >= 0.9995 * size and value >= 1000:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{letter}"
    return f"{value:,}"


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def readable(text: Any) -> str:
    """Text from a corpus with nothing invisible in it: control and direction characters show as the replacement mark.

    Escaping is the template's, which does it to everything.
    """
    hidden = {"Cc", "Cf", "Cs", "Co"}
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if c not in "\n\t" and unicodedata.category(c) in hidden else c for c in str(text)
    )


def _as_url(image: str | bytes) -> str:
    """An SVG (text) or a PNG (bytes) as the address of itself."""
    kind, content = ("svg+xml", image.encode()) if isinstance(image, str) else ("png", image)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def render(content: Mapping[str, Any], template: str = "report.html.jinja") -> str:
    """A page, from what a stage has gathered; every value is escaped by the template."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
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
        # an image cannot run what a hostile name might have smuggled into it
        image=_as_url,
    )
    return environment.get_template(template).render(content)
