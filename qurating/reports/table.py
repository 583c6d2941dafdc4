"""The table of a comparison for the terminal.

Light to import, since run.py prints the table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from qurating.reports.numbers import interval, number, percent, readable, short_count

MAX_COLUMNS = 140
_EQUAL_BUDGETS = 1.05  # up to this ratio: each domain ends with a whole sequence


def format_table(rows: Sequence[Mapping[str, Any]], max_columns: int = MAX_COLUMNS) -> str:
    """The rows of table.json as aligned text: method, tokens, perplexity, change against uniform, perplexity by domain.

    Domains that do not fit are left out, and counted below the table. Control characters in names are replaced.
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
    # to fit, first shorten names down to 24 characters, then drop domains
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
        notes.append("There is no uniform cell to compare the others with.")
    if caution := budgets_caution(rows):
        notes.append(caution)
    labels = sorted({_plain(label) for row in rows for label in row["labels"]})
    if labels:
        notes.append(f"Note: {', '.join(labels)}.")
    return "\n".join([*lines, *notes])


def budgets_caution(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """A sentence for rows of table.json with a perplexity whose subsets differ in size; None if they do not."""
    tokens = [row["tokens"] for row in rows if row["tokens"] and row["perplexity"] is not None]
    if not tokens or max(tokens) <= _EQUAL_BUDGETS * min(tokens):
        return None
    return (
        f"Unequal budgets: from {short_count(min(tokens))} to {short_count(max(tokens))} tokens. A difference in "
        "perplexity may come from the amount of text instead of its choice."
    )


def _aligned(columns: Sequence[tuple[list[str], list[str]]]) -> list[str]:
    """Lines of a table: headings aligned at the bottom, the first column aligned left, the others right."""
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
    """The held-out domains of all rows, sorted by their number of tokens, largest first."""
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
    """The name of a domain in at most two lines of ten characters: language_reference -> language, reference."""
    words = _plain(name).replace("-", "_").split("_", 1)
    return [_cut(word.replace("_", " ").strip() or "_", 10) for word in words]
