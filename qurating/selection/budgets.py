"""A budget of tokens shared among domains, exact to the token."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

STOP, REDISTRIBUTE = "stop", "redistribute"


def shares(total: int, weights: Sequence[int | float]) -> list[int]:
    """Shares of `total` in proportion to `weights`, which add up to it exactly (largest remainders; ties by position).

    Exact for any weights: products of two token counts exceed 2^63, and sums of floats would depend on their order.
    """
    exact = [Fraction(weight) for weight in weights]
    whole = sum(exact)
    parts = [total * weight / whole for weight in exact]
    found = [int(part) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda place: (found[place] - parts[place], place))
    for place in by_remainder[: total - sum(found)]:
        found[place] += 1
    return found


def check_weights(weights: Any, of: str, below_zero: bool = False) -> None:
    """Raises ValueError unless `weights` maps names to finite numbers, 0 or more (any if `below_zero`), not all 0."""
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights of {of} are given by name, as in {{NAME: 1, OTHER: 2}}, not as {weights}")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise ValueError(f"the weight of {name} must be a number, not {weight!r}")
    if not any(weights.values()) or (not below_zero and min(weights.values()) < 0):
        allowed = "not all 0" if below_zero else "0 or more, and one of them above"
        raise ValueError(f"weights of {of} are {allowed}: {dict(weights)}")


def by_domain(
    num_tokens: int,
    tokens: Mapping[str, int],
    weights: Mapping[str, float] | None = None,
    on_short_domain: str = STOP,
) -> dict[str, int]:
    """The budget of each domain, in tokens; they add up to `num_tokens`.

    Args:
        num_tokens: the whole budget.
        tokens: the number of tokens in each domain.
        weights: of the domains; they need not add up to 1, and a domain without a weight gets nothing. None: in
            proportion to `tokens`.
        on_short_domain: if a domain holds fewer tokens than its share: `stop` raises; `redistribute` takes all its
            tokens, and the other domains share the rest by their weights.

    Raises:
        ValueError: a budget that is not a whole number, not positive, or larger than the corpus (says both numbers); a
            weight of an unknown domain (lists the known ones), a negative one, or no positive one; a short domain with
            `stop`.
    """
    available = sum(tokens.values())
    if num_tokens != int(num_tokens):
        raise ValueError(f"the budget must be a whole number of tokens, not {num_tokens}")
    num_tokens = int(num_tokens)
    if not 0 < num_tokens <= available:
        raise ValueError(f"the budget is {num_tokens:,} tokens, the corpus holds {available:,}")
    if on_short_domain not in (STOP, REDISTRIBUTE):
        raise ValueError(f"on_short_domain is {STOP} or {REDISTRIBUTE}, not {on_short_domain!r}")
    names = sorted(tokens)
    if weights is None:
        return dict(zip(names, shares(num_tokens, [tokens[name] for name in names]), strict=True))
    check_weights(weights, "domains")
    if unknown := sorted(set(weights) - set(names)):
        raise ValueError(f"unknown domain {', '.join(unknown)}; the domains are {', '.join(names)}")
    return dict.fromkeys(names, 0) | _weighted(num_tokens, tokens, weights, on_short_domain)


def pool_tokens(fraction: float, available: int, num_tokens: int) -> int:
    """The size in tokens of a pool, a fraction of the `available` ones, from which `num_tokens` of them are drawn.

    Raises:
        ValueError: a fraction outside (0, 1], or a pool smaller than `num_tokens` (says both, and a sufficient
            fraction).
    """
    is_number = isinstance(fraction, int | float) and not isinstance(fraction, bool)
    if not is_number or not 0 < fraction <= 1:
        raise ValueError(f"the fraction must lie in (0, 1], not {fraction}")
    size = round(fraction * available)
    if size < num_tokens:
        needed = math.ceil(1000 * num_tokens / available) / 1000
        raise ValueError(
            f"the budget is {num_tokens:,} tokens, and the pool has {size:,}, a fraction of {fraction:g} of "
            f"{available:,}: raise fraction to at least {needed:g}, or lower num_tokens"
        )
    return size


def _weighted(
    num_tokens: int, tokens: Mapping[str, int], weights: Mapping[str, float], on_short_domain: str
) -> dict[str, int]:
    """Set short domains aside, with all their tokens, until every other domain holds its share."""
    left, full = {name: weight for name, weight in sorted(weights.items()) if weight > 0}, dict[str, int]()
    holds = sum(tokens[name] for name in left)
    if holds < num_tokens:
        raise ValueError(
            f"the budget is {num_tokens:,} tokens, the domains with a weight hold {holds:,} ({', '.join(left)})"
        )
    while True:
        rest = num_tokens - sum(full.values())
        found = dict(zip(left, shares(rest, list(left.values())), strict=True)) if left else {}
        short = {name: tokens[name] for name, budget in found.items() if budget > tokens[name]}
        if not short:
            return found | full
        if on_short_domain == STOP:
            name = next(iter(short))
            raise ValueError(
                f"the share of domain {name} is {found[name]:,} tokens, and it holds {tokens[name]:,} "
                f"({len(short):,} such): lower the budget or its weight, or set on_short_domain={REDISTRIBUTE}"
            )
        full |= short
        left = {name: weight for name, weight in left.items() if name not in short}
