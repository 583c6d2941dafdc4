"""What someone should know before more is spent on a judge, in sentences from its numbers."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

LARGE_SHARE = 0.5  # of the texts drawn from a domain, from which their loss is told
MAX_NAMED = 10  # domains in a sentence
MANY_FAILED = 0.05  # of all judgments
MANY_FAILED_OF_DOMAIN, FEWEST_PAIRS = 0.25, 8
LOW_LABEL_SHARE = 0.5  # below it most answers mean something else than a label
FEWEST_TRIPLES = 20  # of fewer, nothing follows
ORDERS_BY_CHANCE, TRIPLES_BY_CHANCE = 0.5, 0.75


def of_summary(summary: Mapping[str, Any]) -> list[str]:
    """The sentences about the summary of a judge; none if nothing stands out."""
    criteria = summary["criteria"]
    return [
        *left_out(summary["domains"], summary["min_tokens"]),
        *_failed(summary),
        *_label_shares(criteria, "votes name" if summary["num_votes"] else "probability lies on"),
        *_orders(criteria),
        *_triples(criteria),
        *_models(summary),
    ]


def _failed(summary: Mapping[str, Any]) -> Iterator[str]:
    if summary["failed_fraction"] > MANY_FAILED:
        reasons = "; ".join(f"{found['num_requests']:,} × {reason}" for reason, found in summary["failed"].items())
        yield f"{percent(summary['failed_fraction'])} of the judgments failed: {reasons}"
    domains = [
        f"{row['domain']} ({percent(row['failed'])} of {row['num_pairs']:,} pairs)"
        for row in summary["by_domain"]
        if row["num_pairs"] >= FEWEST_PAIRS and row["failed"] >= MANY_FAILED_OF_DOMAIN
    ]
    if domains:
        yield f"many judgments failed where a text is of {_listed(domains)}"


def _label_shares(criteria: Mapping[str, Mapping[str, Any]], of_what: str) -> Iterator[str]:
    low = {
        name: found
        for name, found in criteria.items()
        if (median := found.get("label_share_median")) is not None and median < LOW_LABEL_SHARE
    }
    if low:
        named = [
            f"{name} {percent(found['label_share_median'])} ({percent(found['label_share_decile'])})"
            for name, found in low.items()
        ]
        yield (
            f"little of the {of_what} the labels, in the median (and at most in the lowest tenth): {_listed(named)}. "
            "The model mostly means to say something else, and preferences are ratios of small numbers: check the "
            "model and judge.prompt"
        )


def _orders(criteria: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from _at_chance(
        {name: found for name, found in criteria.items() if found.get("orders_agree") is not None},
        "orders_agree",
        ORDERS_BY_CHANCE,
        "the two orders of a pair agree",
        "num_pairs",
        "pairs",
        "The place of a text decides, not the text",
    )


def _triples(criteria: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from _at_chance(
        {name: found for name, found in criteria.items() if found["num_triples"] >= FEWEST_TRIPLES},
        "transitive",
        TRIPLES_BY_CHANCE,
        "triples of texts are free of cycles",
        "num_triples",
        "triples",
        "The judge contradicts itself",
    )


def _at_chance(
    criteria: Mapping[str, Mapping[str, Any]],
    share: str,
    chance: float,
    what: str,
    number: str,
    unit: str,
    if_below: str,
) -> Iterator[str]:
    """Criteria whose 95 % interval holds what guessing gives, or lies below it."""
    for is_below, words in ((False, "no better than chance"), (True, "less often than by chance")):
        named = []
        for name, found in criteria.items():
            low, high = found[f"{share}_interval"]
            if low <= chance and (high < chance) == is_below:
                interval = f"{100 * low:.0f} to {100 * high:.0f}"
                named.append(f"{name} {percent(found[share])} ({interval}) of {found[number]:,} {unit}")
        if named:
            meaning = f". {if_below}" if is_below else ""
            yield f"{what} {words}, which is {percent(chance)}: {_listed(named)}, with 95 % intervals{meaning}"


def _models(summary: Mapping[str, Any]) -> Iterator[str]:
    """Several models in the replies, or none that looks like the one asked for."""
    models = [each for each in summary.get("models", []) if each["model"]]
    if len(models) > 1:
        named = [f"{each['model']} ({each['num_answers']:,})" for each in models]
        yield f"several models answered (so many requests): {_listed(named)}"
    # gpt-4-0613 is a gpt-4, gpt-4o is not
    asked = re.compile(rf"(?<![a-z0-9]){re.escape(summary['model'].rpartition('/')[2])}(?![a-z0-9])", re.IGNORECASE)
    strangers = [each["model"] for each in models if not asked.search(each["model"])]
    if (summary["endpoint"]["kind"], summary["endpoint"]["api"]) == ("remote", "openai") and strangers:
        yield f"{summary['model']} was asked for, and the replies name {_listed(strangers)}"


def percent(share: float) -> str:
    """A share in whole percent; with a decimal below 10 %."""
    return f"{100 * share:.{1 if 0 < share < 0.0995 else 0}f} %"


def _listed(words: list[str]) -> str:
    more = [f"{len(words) - MAX_NAMED} more"] if len(words) > MAX_NAMED else []
    return ", ".join([*words[:MAX_NAMED], *more])


def left_out(by_domain: Mapping[str, Mapping[str, int]], min_tokens: int) -> Iterator[str]:
    """Domains of which no text, or less than half, can be judged.

    Args:
        by_domain: `judged` and `too_short` texts among those drawn, by domain.
    """
    wholly = {name: n for name, n in by_domain.items() if n["too_short"] and not n["judged"]}
    mostly = {
        name: n
        for name, n in by_domain.items()
        if n["judged"] and n["too_short"] >= LARGE_SHARE * (n["too_short"] + n["judged"])
    }
    why = f"are shorter than judge.min_tokens={min_tokens}; they are rated and selected all the same"
    if wholly:
        yield f"nothing is judged of {_named(wholly)}: all texts drawn {why}"
    if mostly:
        yield f"little is judged of {_named(mostly)}: at least half of the texts drawn {why}"


def _named(domains: Mapping[str, Mapping[str, int]]) -> str:
    """Domains with their texts that are too short, of all drawn."""
    return _listed([f"{name} ({n['too_short']} of {n['too_short'] + n['judged']})" for name, n in domains.items()])
