"""The answer of a sweep with several seeds: how many tokens uniform needs for the loss that each method reaches."""

from collections.abc import Mapping, Sequence
from typing import Any

from qurating.evaluation.runs import COMPLETE
from qurating.reports.numbers import MINUS, readable, short_count

Row = Mapping[str, Any]
MAX_PARTS = 5  # of the held-out text that get a column


def is_one(rows: Sequence[Row]) -> bool:
    """Whether rows of `methods.rows` answer the question: uniform has several budgets, or some have several seeds."""
    return any(row["token_factor_from"] == "budgets" or row["num_seeds"] > 1 for row in rows)


def losses(rows: Sequence[Row]) -> dict[str, list[tuple[int, float, float, float]]]:
    """Method -> (tokens, loss, its lowest and highest over seeds' 95 % interval), all budgets of uniform as one method.

    Without an interval both ends are the loss.
    """
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for row in rows:
        if row["state"] == COMPLETE and row["tokens"]:
            ends = [row["loss"] if row[key] is None else row[key] for key in ("loss_low", "loss_high")]
            name = "uniform" if row["is_uniform"] else row["method"]
            found.setdefault(name, []).append((row["tokens"], row["loss"], *ends))
    return {name: sorted(points) for name, points in found.items()}


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """The table as text, headings first: method, tokens, loss, token factor, what uniform needs, the price elsewhere.

    Args:
        rows: see `methods.rows`; without those that have no result.
    """
    rows = [row for row in rows if row["state"] == COMPLETE]
    about = next((row["part"] for row in rows if row["part"]), None)
    parts = _parts(rows)
    head = ["method", "tokens", f"loss on {about}" if about else "loss", "token factor", "uniform needs"]
    return [
        [readable(each) for each in [*head, *(f"{part}: {MINUS} uniform" for part in parts)]],
        *([readable(row["method"]), short_count(row["tokens"]), *_result(row), *_price(row, parts)] for row in rows),
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown, and the sentences that say what to believe."""
    table = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in cells(rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["| " + " | ".join(_padded(line, widths)) + " |" for line in table]
    rule = "|" + "|".join("-" * (width + 1) + (":" if place else "-") for place, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:], "", *sentences(rows)]) + "\n"


def sentences(rows: Sequence[Row]) -> list[str]:
    """What the numbers are, and what not to believe."""
    rows = [row for row in rows if row["state"] == COMPLETE]
    seeds = sorted({row["num_seeds"] for row in rows})
    over = f"{seeds[0]} seed{'s' if seeds[0] > 1 else ''}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    found = [f"Loss: nats per token on held-out text, mean over {over}; ± and [ ]: 95 % intervals over seeds."]
    if any(row["token_factor_from"] == "budgets" for row in rows):
        found.append(
            "Token factor: how many times the method's tokens uniform needs for the same loss, read from uniform at "
            "several budgets (≥, ≤: outside of them)."
        )
    if _parts(rows):
        found.append(
            "The last columns are the price: the loss on other text minus that of uniform with as many tokens; "
            "above 0 is worse."
        )
    simulated = any("simulated judge" in row["labels"] for row in rows)
    judge = ", of a simulated judge (text statistics, no language model)" if simulated else ""
    found.append(
        f"Believe it for this corpus and these ratings{judge}: the seeds cover selection, order and training alone. "
        "What it says about other text, other ratings or a larger model is not known."
    )
    return found


def _parts(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(part for row in rows for part in row["elsewhere"] or {}))[:MAX_PARTS]


def _result(row: Row) -> list[str]:
    """Loss, factor, and the tokens that uniform needs."""
    loss = f"{row['loss']:.3f}"
    if row["loss_low"] is not None:
        loss += f" ± {(row['loss_high'] - row['loss_low']) / 2:.3f}"
    factor, low, high = row["token_factor"], row["token_factor_low"], row["token_factor_high"]
    if row["is_uniform"]:
        return [loss, "1", short_count(row["tokens"])]
    if factor is None or row["token_factor_from"] != "budgets":  # one along a training does not say what uniform needs
        return [loss, "–", "–"]
    bound = {"at least": "≥ ", "at most": "≤ "}.get(row["token_factor_bound"], "")
    span = "" if low is None else f" [{low:.2f}, {high:.2f}]"
    needed = float(f"{factor * row['tokens']:.3g}")
    return [loss, f"{bound}{factor:.2f}{span}", f"{bound}{short_count(needed)}"]


def _price(row: Row, parts: Sequence[str]) -> list[str]:
    found = row["elsewhere"] or {}
    return [f"{found[part]:+.2f}".replace("-", MINUS) if part in found else "–" for part in parts]


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [c.rjust(w) if place else c.ljust(w) for place, (c, w) in enumerate(zip(line, widths, strict=True))]
