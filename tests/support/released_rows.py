"""Rows in the columns of the released judgments."""

from typing import Any

CRITERIA = ["writing_style", "facts_and_trivia"]


def row(number: int, p: float = 0.7) -> dict[str, Any]:
    """As in the released set: whole votes, and an average that sums to 1 with its transpose."""
    found: dict[str, Any] = {"texts": [f"The first text, {number}.", f"The second text, {number}."]}
    for name in CRITERIA:
        found[f"{name}_votes_a"] = [[-100, 4], [14, -100]]
        found[f"{name}_votes_b"] = [[-100, 16], [6, -100]]
        found[f"{name}_average"] = [[-100.0, p], [1 - p, -100.0]]
    return found
