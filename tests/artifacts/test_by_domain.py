"""Counts by domain."""

from qurating.artifacts.by_domain import MAX_DOMAINS, OTHERS, count_domains, shortened


def test_the_most_frequent_domains_are_named_and_the_others_added_up() -> None:
    counts = count_domains(["b", "a", "c", "c"])
    assert list(counts.items()) == [("c", 2), ("a", 1), ("b", 1)]
    assert shortened(counts) == counts
    many = count_domains(f"d{place:03}" for place in range(50) for _ in range(1 + (place == 40)))
    short = shortened(many)
    assert len(short) == MAX_DOMAINS + 1
    assert next(iter(short)) == "d040"
    assert sum(short.values()) == sum(many.values())
    assert short[OTHERS] == 30
