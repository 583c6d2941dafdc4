"""Counts by domain, short enough for a manifest and a line of the terminal."""

from collections import Counter
from collections.abc import Iterable, Mapping

MAX_DOMAINS = 20
OTHERS = "other domains"


def count_domains(domains: Iterable[str]) -> dict[str, int]:
    """The number of times that each domain occurs, the most frequent first, then by name."""
    return dict(sorted(Counter(domains).items(), key=lambda item: (-item[1], item[0])))


def shortened(counts: Mapping[str, int]) -> dict[str, int]:
    """The first `MAX_DOMAINS` counts, and the sum of all others under `OTHERS`."""
    names = list(counts)
    if len(names) <= MAX_DOMAINS:
        return dict(counts)
    return {name: counts[name] for name in names[:MAX_DOMAINS]} | {
        OTHERS: sum(counts[name] for name in names[MAX_DOMAINS:])
    }
