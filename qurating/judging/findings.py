"""What someone should know before more is spent on a judge, in sentences from its numbers."""

from collections.abc import Iterator, Mapping

LARGE_SHARE = 0.5  # of the texts drawn from a domain, from which their loss is told
MAX_NAMED = 10  # domains in a sentence


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
    named = [f"{name} ({n['too_short']} of {n['too_short'] + n['judged']})" for name, n in domains.items()]
    more = [f"{len(named) - MAX_NAMED} more"] if len(named) > MAX_NAMED else []
    return ", ".join([*named[:MAX_NAMED], *more])
