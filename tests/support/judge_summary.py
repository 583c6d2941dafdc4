"""A summary of a judge, as its report reads it, with markup in names and words."""

from typing import Any

from requests_example import TWO

AGREEMENT: dict[str, Any] = dict.fromkeys(
    ("orders_agree", "orders_agree_interval", "positional_bias", "ties", "confident", "longer_preferred",
     "length_correlation", "transitive", "transitive_interval", "orders_agree_with_instructions", "kendall_tau",
     "label_share_median", "label_share_decile")
) | {"num_pairs": 2, "num_triples": 0, "num_ranked": 0, "num_pairs_with_instructions": 0}  # fmt: skip
CALLS = {"num_calls": 12, "prompt_tokens": 5000, "completion_tokens": 12, "usd": None}
COSTS = {"num_pairs": 1, "num_calls": 4, "prompt_tokens": 1700.4, "completion_tokens": 4.0, "usd": 0.00123}
SUMMARY: dict[str, Any] = {
    "judge": "served <b>",
    "model": "m",
    "num_pairs": 2,
    "num_texts": 4,
    "num_votes": 5,
    "method": "votes",
    "simulated": False,
    "criteria": dict.fromkeys(TWO, AGREEMENT),
    "cost": {
        **{"found_again": 3, "traffic": {"lost replies": 2}},
        **{"estimate": CALLS, "actual": CALLS, "price": None, "per_pair": COSTS},
        "paper": COSTS | {"num_pairs": 250_000, "num_calls": 1_000_000, "usd": 4321.5},
    },
    "num_requests": 12,
    "failed": {"no <i>label": {"num_requests": 3, "example": "<b>"}},
    "failed_fraction": 0.25,
    "endpoint": {"kind": "remote", "address": "http://<i>host/v1", "api": "openai"},
    "temperature": None,
    "models": [{"model": "m-<i>", "num_answers": 9, "first": "2026-01-30", "last": "2026-01-31"}],
    "min_tokens": 32,
    "by_domain": [
        {"domain": "<i>d", "judged": 4, "too_short": 1, "num_pairs": 2, "failed": 0.25, "criteria": {"x": AGREEMENT}}
    ],
    "findings": ["little is judged of <i>d"],
}
