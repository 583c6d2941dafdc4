"""Sentences about a judge, from its numbers."""

from typing import Any

import pytest

from qurating.judging import findings

FINE: dict[str, Any] = {
    "model": "owner/Model-7B",
    "num_votes": None,
    "min_tokens": 32,
    "endpoint": {"kind": "remote", "address": "http://x/v1", "api": "openai"},
    "domains": {"web": {"judged": 90, "too_short": 1}},
    "by_domain": [{"domain": "web", "num_pairs": 80, "failed": 0.01}],
    "failed": {"no label": {"num_requests": 3, "example": ""}},
    "failed_fraction": 0.01,
    "models": [{"model": "model-7b-fp8", "num_answers": 400}],
}
STYLE: dict[str, Any] = {
    "num_pairs": 200,
    "orders_agree": 0.8,
    "orders_agree_interval": [0.74, 0.85],
    "label_share_median": 0.97,
    "label_share_decile": 0.9,
    "num_triples": 40,
    "transitive": 0.95,
    "transitive_interval": [0.84, 0.99],
}


def said(criterion: dict[str, Any] | None = None, **changes: Any) -> list[str]:
    return findings.of_summary(FINE | {"criteria": {"style": STYLE | (criterion or {})}} | changes)


def test_nothing_is_said_of_a_judge_that_does_well() -> None:
    assert said() == []
    assert said({"orders_agree": None, "orders_agree_interval": None, "label_share_median": None}) == []
    assert said({"num_triples": 2, "transitive": 0.5, "transitive_interval": [0.1, 0.9]}) == []  # too few


@pytest.mark.parametrize(
    ("criterion", "changes", "sentence"),
    [
        (
            {"orders_agree": 0.52, "orders_agree_interval": [0.45, 0.59]},
            {},
            "the two orders of a pair agree no better than chance, which is 50 %: style 52 % (45 to 59) of 200 pairs, "
            "with 95 % intervals",
        ),
        (
            {"orders_agree": 0.2, "orders_agree_interval": [0.15, 0.26]},
            {},
            "the two orders of a pair agree less often than by chance, which is 50 %: style 20 % (15 to 26) of 200 "
            "pairs, with 95 % intervals. The place of a text decides, not the text",
        ),
        (
            {"transitive": 0.8, "transitive_interval": [0.65, 0.9]},
            {},
            "triples of texts are free of cycles no better than chance, which is 75 %: style 80 % (65 to 90) of 40 "
            "triples",
        ),
        (
            {"label_share_median": 0.06, "label_share_decile": 0.012},
            {},
            "little of the probability lies on the labels, in the median (and at most in the lowest tenth): style "
            "6.0 % (1.2 %). The model mostly means to say something else",
        ),
        (
            {"label_share_median": 0.4, "label_share_decile": 0.3},
            {"num_votes": 20},
            "little of the votes name the labels, in the median",
        ),
        ({}, {"failed_fraction": 0.3}, "30 % of the judgments failed: 3 × no label"),
        (
            {},
            {
                "by_domain": [
                    {"domain": "zh", "num_pairs": 8, "failed": 0.5},
                    {"domain": "x", "num_pairs": 7, "failed": 1},
                ]
            },
            "many judgments failed where a text is of zh (50 % of 8 pairs)",
        ),
        ({}, {"domains": {"zh": {"judged": 0, "too_short": 73}}}, "nothing is judged of zh (73 of 73)"),
        (
            {},
            {"models": [{"model": "model-7b", "num_answers": 9}, {"model": "Model-7B-x", "num_answers": 1}]},
            "several models answered (so many requests): model-7b (9), Model-7B-x (1)",
        ),
        (
            {},
            {"models": [{"model": "model-7bx", "num_answers": 9}, {"model": "", "num_answers": 1}]},
            "owner/Model-7B was asked for, and the replies name model-7bx",
        ),
    ],
)
def test_what_stands_out_is_said(criterion: dict[str, Any], changes: dict[str, Any], sentence: str) -> None:
    (found,) = said(criterion, **changes)
    assert found.startswith(sentence)


def test_the_model_of_an_own_server_or_a_deployment_may_be_called_otherwise() -> None:
    other = [{"model": "other", "num_answers": 9}]
    for change in ({"kind": "local"}, {"api": "azure"}):
        assert said(endpoint=FINE["endpoint"] | change, models=other) == []


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
