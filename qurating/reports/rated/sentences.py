"""What to believe, in a few sentences and in a word for each criterion, from the tables of an analysis."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qurating.analysis.cautions import BAD_CALIBRATION, MIN_CALIBRATED
from qurating.analysis.raters import calibration_error
from qurating.evaluation.runs import COMPLETE
from qurating.reports.numbers import MINUS
from qurating.reports.rated.tables import Rows

Tables = Mapping[str, Rows | None]

SOURCES_FROM = 0.5  # share of variance that the domain explains: from here on ratings sort by source
CHANCE = 0.5  # AUC of a coin
SIGNIFICANT = 0.05  # p-values below it, corrected for all comparisons


def _by_criterion(rows: Rows | None, **where: str) -> dict[str, dict[str, Any]]:
    """The row of each criterion that has the given values."""
    chosen = (row for row in rows or [] if all(row[name] == value for name, value in where.items()))
    return {row["criterion"]: row for row in chosen}


def _explained(tables: Tables) -> dict[str, float]:
    rows = _by_criterion(tables["variance"], explained_by="domain")
    return {name: row["eta_squared"] for name, row in rows.items() if row["eta_squared"] is not None}


def _sorts_sources(tables: Tables) -> set[str]:
    """Criteria whose variance is mostly between domains, and more so than many small domains would have by chance."""
    rows = _by_criterion(tables["variance"], explained_by="domain")
    by_chance = {name: row.get("by_chance") or 0.0 for name, row in rows.items()}
    return {name for name, share in _explained(tables).items() if share >= max(SOURCES_FROM, 2 * by_chance[name])}


def _constant(tables: Tables) -> set[str]:
    """Criteria whose ratings never differ."""
    varies: dict[str, bool] = {}
    for row in tables["by_group"] or []:
        # a sum of equal floats may differ from them in the last digit
        differs = (row["sd"] or 0.0) > 1e-6 * abs(row["mean"] or 0.0) or row["p5"] != row["p95"]
        varies[row["criterion"]] = varies.get(row["criterion"], False) or differs
    means: dict[str, set[float]] = {}
    for row in tables["by_group"] or []:
        means.setdefault(row["criterion"], set()).add(row["mean"])
    return {name for name, differs in varies.items() if not differs and len(means[name]) == 1}


def verdicts(tables: Tables, criteria: list[str]) -> dict[str, str]:
    """What the ratings of each criterion tell apart, in a few words; – where nothing is known."""
    explained, constant, sources = _explained(tables), _constant(tables), _sorts_sources(tables)
    within = _by_criterion(tables["preferences"], where="within")
    found = {}
    for name in criteria:
        low = within.get(name, {}).get("low")
        share = explained.get(name)
        if name in constant:
            found[name] = "nothing: constant"
        elif low is not None and low <= CHANCE:
            found[name] = "sources; within one no better than chance"
        elif name in sources:
            found[name] = "mostly sources"
        elif low is not None:
            found[name] = "texts, also within a source"
        else:
            found[name] = "–" if share is None else "not only sources"
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _span(shown: Sequence[str]) -> str:
    """The first and the last of some numbers in order; one if they look the same."""
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def _names(names: Iterable[str]) -> str:
    quoted = [_named(name) for name in sorted(names)]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _on_sources(tables: Tables) -> str:
    explained = _explained(tables)
    if not explained:
        return "Whether the ratings tell texts apart, or only sources, is not known: there is no table of variance."
    text = f"The domain explains {_span([_percent(share) for share in sorted(explained.values())])} of the variance of"
    sources = _sorts_sources(tables)
    if not sources:
        return f"{text} ratings: no criterion merely sorts sources."
    if len(sources) == len(explained):
        return f"{text} ratings: a selection by any criterion mostly chooses sources."
    return f"{text} ratings: a selection by {_names(sources)} mostly chooses sources."


def _on_preferences(tables: Tables) -> str:
    rows = {where: _by_criterion(tables["preferences"], where=where) for where in ("within", "across")}
    aucs = {
        where: [f"{auc:.2f}" for auc in sorted(row["auc"] for row in of.values() if row["auc"] is not None)]
        for where, of in rows.items()
    }
    doubt = _doubt(tables)
    if not aucs["within"]:
        why = "no judgments were given" if not tables["preferences"] else "too few judged pairs are of one domain"
        return f"Whether the rater is right within a domain is not known: {why}{doubt or _accuracy(tables)}."
    text = f"The rater agrees with the judge on two texts of one domain with an AUC of {_span(aucs['within'])}"
    text += f", on texts of two domains with {_span(aucs['across'])}" if aucs["across"] else ""
    chance = [name for name, row in rows["within"].items() if row["low"] is not None and row["low"] <= CHANCE]
    if chance:
        return f"{text}; do not rank texts of one domain by {_names(chance)}: that may be chance (0.5){doubt}."
    return f"{text}; chance is 0.5{doubt}."


def _of_all(rows: Rows | None) -> Rows:
    return [row for row in rows or [] if row["grouping"] == "all"]


def _guessed(rows: Rows | None) -> set[str]:
    """Criteria by which a share reaches that of a coin."""
    return {row["criterion"] for row in _of_all(rows) if row["low"] is not None and row["low"] <= CHANCE}


def _doubt(tables: Tables) -> str:
    """The gravest of what judge and rater say against themselves, as the end of a sentence; empty if nothing."""
    judged = tables["judge"] or []
    if guessed := _guessed([row for row in judged if row["judgments"] == judged[0]["judgments"]]):  # the rater's first
        return f"; but by {_names(guessed)} the judge contradicts itself when the two texts change places"
    if guessed := _guessed(tables["rater_accuracy"]):
        return f"; but on held-out pairs the rater may only guess by {_names(guessed)}"
    bins: dict[tuple[str, str], Rows] = {}
    for row in tables["rater_calibration"] or []:
        bins.setdefault((row["rater"], row["criterion"]), []).append(row)
    surer, less = set[str](), set[str]()
    for (_, criterion), own in bins.items():
        error, by, number = calibration_error(own)
        if error is not None and by is not None and number >= MIN_CALIBRATED and error >= BAD_CALIBRATION:
            (surer if by > 0 else less).add(criterion)
    # a rater that is too sure misleads more
    how = "surer" if surer else "less sure"
    return f"; but by {_names(surer or less)} the rater is {how} than the judge" if surer or less else ""


def _accuracy(tables: Tables) -> str:
    """The rater's accuracy on held-out pairs, as the end of a sentence; empty if it is not known."""
    known = sorted(row["accuracy"] for row in _of_all(tables["rater_accuracy"]) if row["accuracy"] is not None)
    return f"; on held-out pairs it prefers the judge's text in {_span(list(map(_percent, known)))}" if known else ""


def _on_selections(tables: Tables, labels: Mapping[str, str]) -> str:
    shifts = [
        (row["share_of_subset"] - row["share_of_corpus"], row)
        for row in tables["retention"] or []
        if row["grouping"] == "domain" and row["share_of_corpus"] is not None and row["share_of_subset"] is not None
    ]
    if not shifts:
        return "What a selection takes is not known: no subsets were given."
    most, most_row = max(shifts, key=lambda shift: abs(shift[0]))
    if abs(most) < 0.005:
        return "No selection changes the share of a domain by half a percentage point or more."
    same = [shift for shift in shifts if shift[1]["subset"] == most_row["subset"]]
    moved = [max(same, key=lambda shift: shift[0]), min(same, key=lambda shift: shift[0])]
    told = [
        f"“{row['group']}” from {_percent(row['share_of_corpus'])} to {_percent(row['share_of_subset'])} of the tokens"
        for shift, row in moved
        if abs(shift) >= 0.005
    ]
    subset = most_row["subset"]
    return f"{_names([labels.get(subset, subset)])} changes the mixture most: it moves {', and '.join(told)}."


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def on_results(tables: Tables, answered: Sequence[Mapping[str, Any]]) -> str | None:
    """Whether the best of the evaluated selections helped, and what it costs; None if no model was evaluated.

    Args:
        answered: the methods over their seeds, see `evaluation.methods.rows`, in the order of the table `results`.
    """
    rows = [row for row in tables["results"] or [] if row["state"] == COMPLETE]
    compared = [row for row in rows if row["difference"] is not None]
    if not compared:
        return "Whether a selection helped is not known: no model can be compared with uniform." if rows else None
    tested = [row for row in compared if row["p_holm"] is not None]
    sure = [row for row in tested if row["p_holm"] < SIGNIFICANT]
    better, worse = ([row for row in sure if sign * row["difference"] > 0] for sign in (-1, 1))
    best = min(better or compared, key=lambda row: row["difference"])
    by = f"{_named(best['method'])}: {_against_uniform(best)}"
    if not tested:
        return f"Whether a selection helped is not known without several seeds; the lowest loss is that of {by}."
    if not better:
        rest = f"; {len(worse)} of {len(tested)} are worse than uniform" if worse else ""
        return f"No selection helped beyond chance; the lowest loss is that of {by}{rest}."
    said = [f"Selecting helped with {len(better)} of {len(tested)} selections, most with {by}", _on_tokens(best)]
    elsewhere = answered[best["number"]]["elsewhere"] or {} if best["number"] < len(answered) else {}
    price, part = max(((loss, part) for part, loss in elsewhere.items()), default=(0.0, ""))
    if price >= 0.005:
        said.append(f"on {part.replace('_', ' ')} it costs {_signed(price)}")
    return f"{'; '.join(filter(None, said))}."


def _against_uniform(row: Mapping[str, Any]) -> str:
    low, high = row["difference_low"], row["difference_high"]
    interval = "" if low is None else f" [{_signed(low)}, {_signed(high)}]"
    on = f" on {row['part'].replace('_', ' ')}" if row["part"] else ""
    return f"{_signed(row['difference'])}{interval} nats per token against uniform{on}"


def _on_tokens(row: Mapping[str, Any]) -> str:
    """What the token factor of a method means, by how it was found; empty without one."""
    factor = row["token_factor"]
    if factor is None:
        return ""
    if row["token_factor_from"] == "curve":
        return f"it is at the last loss of uniform after {_percent(1 / factor)} of the tokens"
    bound = {"at least": "at least ", "at most": "at most "}.get(row["token_factor_bound"], "")
    return f"uniform needs {bound}{factor:.2f} times the tokens for that"


def _named(name: str) -> str:
    return f"“{name.replace('_', ' ')}”"


def to_believe(tables: Tables, labels: Mapping[str, str], answered: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """At most four sentences: whether a selection helped, if models were evaluated; then on sources against texts, on
    preferences within domains, on what selections take.

    Args:
        labels: of subsets, by name.
        answered: see `on_results`.
    """
    helped = on_results(tables, answered)
    return [*([helped] if helped else []), _on_sources(tables), _on_preferences(tables), _on_selections(tables, labels)]
