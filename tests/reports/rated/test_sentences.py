"""What the page says to believe, against tables whose answer is known."""

from typing import Any

import pytest

from qurating.reports.rated.sentences import to_believe, verdicts
from qurating.reports.rated.tables import COLUMNS, Rows


def tables(**given: Rows) -> dict[str, Rows | None]:
    return dict.fromkeys(COLUMNS) | given


def explained(by_chance: float | None = None, **shares: float) -> Rows:
    return [
        {"criterion": name, "explained_by": by, "eta_squared": value, "by_chance": by_chance}
        for name, share in shares.items()
        for by, value in (("length", 0.9), ("domain", share))
    ]


def preferred(where: str, criterion: str, auc: float | None, low: float | None) -> dict[str, Any]:
    return {"criterion": criterion, "where": where, "num_pairs": 9, "auc": auc, "low": low, "high": 1.0}


def retained(subset: str, **shares: tuple[float, float]) -> Rows:
    return [
        {"grouping": "domain", "group": name, "subset": subset, "share_of_corpus": of, "share_of_subset": to}
        for name, (of, to) in shares.items()
    ]


def test_nothing_is_known() -> None:
    sources, preferences, selections = to_believe(tables(), {})
    assert "is not known" in sources
    assert "no judgments" in preferences
    assert "no subsets" in selections


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        (
            {"a": 0.1, "b": 0.493},
            "explains 10 % to 49 % of the variance of ratings: no criterion merely sorts sources.",
        ),
        ({"a": 0.1, "new_one": 0.5}, "10 % to 50 % of the variance of ratings: a selection by “new one” mostly"),
        ({"a": 0.7, "b": 0.702}, "explains 70 % of the variance of ratings: a selection by any criterion mostly"),
    ],
)
def test_sources(shares: dict[str, float], expected: str) -> None:
    assert expected in to_believe(tables(variance=explained(**shares)), {})[0]


def test_many_small_domains_explain_much_by_chance() -> None:
    found = tables(variance=explained(by_chance=0.4, a=0.6))
    assert "no criterion merely sorts sources" in to_believe(found, {})[0]
    assert verdicts(found, ["a"]) == {"a": "not only sources"}


def test_preferences() -> None:
    rows = [preferred("within", "a", 0.61, 0.55), preferred("across", "a", 0.9, 0.8)]
    rows += [preferred("within", "b", 0.52, 0.48), preferred("across", "b", 0.85, 0.8)]
    sentence = to_believe(tables(preferences=rows), {})[1]
    assert "an AUC of 0.52 to 0.61, on texts of two domains with 0.85 to 0.90" in sentence
    assert "do not rank texts of one domain by “b”" in sentence
    sentence = to_believe(tables(preferences=rows[:2]), {})[1]
    assert sentence.endswith("an AUC of 0.61, on texts of two domains with 0.90; chance is 0.5.")
    sentence = to_believe(tables(preferences=[preferred("within", "a", None, None)]), {})[1]
    assert "too few judged pairs" in sentence


def test_selections() -> None:
    rows = retained("mild", web=(0.5, 0.52), code=(0.5, 0.48)) + retained("hard", web=(0.5, 0.9), code=(0.5, 0.1))
    sentence = to_believe(tables(retention=rows), {"hard": "by_a top-k"})[2]
    assert sentence == (
        "“by a top-k” changes the mixture most: it moves “web” from 50 % to 90 % of the tokens, "
        "and “code” from 50 % to 10 % of the tokens."
    )
    sentence = to_believe(tables(retention=retained("u", web=(0.5, 0.501), code=(0.5, 0.499))), {})[2]
    assert sentence.startswith("No selection changes")


def test_verdicts() -> None:
    rows = [preferred("within", "good", 0.7, 0.6), preferred("within", "luck", 0.52, 0.45)]
    spread = {"grouping": "domain", "group": "d", "mean": 1.0, "p5": 1.0, "p95": 1.0}
    by_group = [spread | {"criterion": "same", "sd": 0.0}, spread | {"criterion": "good", "sd": 0.5, "p95": 2.0}]
    found = tables(
        variance=explained(good=0.2, luck=0.1, source=0.8, unjudged=0.3), preferences=rows, by_group=by_group
    )
    assert verdicts(found, ["good", "luck", "source", "unjudged", "same", "unknown"]) == {
        "good": "texts, also within a source",
        "luck": "sources; within one no better than chance",
        "source": "mostly sources",
        "unjudged": "not only sources",
        "same": "nothing: constant",
        "unknown": "–",
    }


def trained(method: str, difference: float | None, p_holm: float | None = None, **more: Any) -> dict[str, Any]:
    row = {"method": method, "state": "complete", "is_uniform": difference is None, "part": None, "p_holm": p_holm}
    row |= {"difference": difference, "difference_low": None, "difference_high": None, "number": 0}
    return row | {"token_factor": None, "token_factor_bound": None, "token_factor_from": "budgets"} | more


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([trained("uniform", None)], "is not known: no model can be compared"),
        (
            [trained("top_k", -0.2)],
            "not known without several seeds; the lowest loss is that of “top k”: −0.20 nats",
        ),
        (
            [trained("a", 0.3, 0.01), trained("b", -0.1, 0.2, difference_low=-0.3, difference_high=0.1)],
            "No selection helped beyond chance; the lowest loss is that of “b”: −0.10 [−0.30, +0.10] nats per token "
            "against uniform; 1 of 2 are worse than uniform.",
        ),
        (
            [trained("a", -0.1, 0.01), trained("b", -0.4, 0.02, part="prose", token_factor=2.0)],
            "Selecting helped with 2 of 2 selections, most with “b”: −0.40 nats per token against uniform on prose; "
            "uniform needs 2.00 times the tokens for that; on other text it costs +0.70.",
        ),
        (
            [trained("b", -0.4, 0.02, token_factor=3.5, token_factor_bound="at least", number=1)],
            "uniform needs at least 3.50 times the tokens for that.",
        ),
        (
            [trained("b", -0.4, 0.02, token_factor=4.0, token_factor_from="curve", number=1)],
            "against uniform; it is at the last loss of uniform after 25 % of the tokens.",
        ),
        (
            [trained("by chance", -0.9, 0.5), trained("b", -0.4, 0.02, number=1)],
            "Selecting helped with 1 of 2 selections, most with “b”: −0.40 nats",
        ),
        ([trained("b", -0.4, 0.02), trained("broken", None, state="damaged")], "helped with 1 of 1 selections"),
    ],
)
def test_whether_a_selection_helped(rows: Rows, expected: str) -> None:
    answered: list[dict[str, Any]] = [{"elsewhere": {"other_text": 0.7, "tables": 0.1}}, {"elsewhere": None}]
    found = to_believe(tables(results=rows), {}, answered)
    assert expected in found[0]
    assert len(found) == 4


def test_trainings_that_failed_answer_nothing() -> None:
    assert len(to_believe(tables(results=[trained("a", None, state="training failed")]), {})) == 3
