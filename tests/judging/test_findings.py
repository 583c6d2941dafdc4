"""Sentences about a judge, from its numbers."""

from qurating.judging import findings


def test_domains_that_are_left_out_are_named_with_their_counts() -> None:
    domains = {
        "web": {"judged": 90, "too_short": 10},
        "chat": {"judged": 5, "too_short": 5},
        "titles": {"judged": 0, "too_short": 7},
    }
    assert list(findings.left_out(domains, 32)) == [
        "nothing is judged of titles (7 of 7): all texts drawn are shorter than judge.min_tokens=32; they are rated "
        "and selected all the same",
        "little is judged of chat (5 of 10): at least half of the texts drawn are shorter than judge.min_tokens=32; "
        "they are rated and selected all the same",
    ]
    assert list(findings.left_out({"web": domains["web"]}, 32)) == []


def test_of_many_domains_some_are_named() -> None:
    domains = {f"host {number}": {"judged": 0, "too_short": 1} for number in range(12)}
    (sentence,) = findings.left_out(domains, 32)
    assert "host 9 (1 of 1), 2 more: all" in sentence
