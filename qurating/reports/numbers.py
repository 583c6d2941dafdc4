"""Numbers and texts, formatted for people."""

import unicodedata
from collections.abc import Mapping
from typing import Any

MINUS = "\N{MINUS SIGN}"


def number(value: float | None) -> str:
    """At least four digits from 10 on: 12.34, 123.4, 1,234; – for None."""
    if value is None:
        return "–"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A signed change with one or two decimals and a minus sign; – for None."""
    if value is None:
        return "–"
    return f"{value:+.{2 if abs(value) < 10 else 1}f}".replace("-", MINUS)


def interval(row: Mapping[str, Any]) -> str:
    low, high = row["change_low"], row["change_high"]
    return "" if low is None or high is None else f"[{percent(low)}, {percent(high)}]"


def short_count(value: float | None) -> str:
    """A count in three digits: 987, 12.3K, 4.56M, 30.0B; – for None."""
    if value is None:
        return "–"
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        # a number that rounds to 1000K is shown as 1.00M
        if value >= 0.9995 * size and value >= 1000:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{letter}"
    return f"{value:,}"


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def readable(text: Any) -> str:
    """Text from a corpus with invisible characters (control, direction) shown as the replacement character.

    It is not escaped: the templates escape every value.
    """
    hidden = {"Cc", "Cf", "Cs", "Co"}
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if c not in "\n\t" and unicodedata.category(c) in hidden else c for c in str(text)
    )
