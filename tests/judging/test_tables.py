"""The tables of a judge's answers, from known preferences."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from requests_example import PAIRS, TEXTS, TWO, answered, criterion_of, example_requests, texts_of

from qurating.judging import tables


def strength(text: int) -> float:
    return [0.9, 0.6, 0.2, 0.4][text]


def weights(prompt: str, repeat: int) -> list[float] | None:
    """The first text is favoured; by the second criterion the first pair is not judged in one order."""
    a, b = texts_of(prompt)
    if criterion_of(prompt) == 1 and (a, b) == (1, 0):
        return None
    return [strength(a) + 0.1, strength(b)]


def test_judgments_hold_both_orders_and_their_mean(tmp_path: Path) -> None:
    asked = answered(example_requests("logprobs"), weights)
    preferred = tables.preferred(asked, PAIRS)
    tables.write(tmp_path, PAIRS, TWO, asked, preferred, asked.settings)
    rows = pq.read_table(tmp_path / "judgments.parquet").to_pylist()
    assert len(rows) == 2  # the pair of the ranking is no judgment
    for pair, row in enumerate(rows):
        zero, one = int(PAIRS.first[pair]), int(PAIRS.second[pair])
        assert row["texts"] == [TEXTS[zero], TEXTS[one]]
        assert row["indices"] == [10 + zero, 10 + one]
        assert row["domains"] == [PAIRS.domains[zero], PAIRS.domains[one]]
        assert row["method"] == "logprobs"
        s = strength(zero), strength(one)
        shown_second, shown_first = s[1] / (s[0] + 0.1 + s[1]), (s[1] + 0.1) / (s[0] + 0.1 + s[1])
        p = (shown_second + shown_first) / 2
        assert row["educational_value_average"] == [[-100, pytest.approx(p)], [pytest.approx(1 - p), -100]]
        assert row["educational_value_votes_b"][0][1] == pytest.approx(s[1])
        assert preferred[pair, 0] == pytest.approx(p)
    assert rows[0]["writing_style_average"] == [[-100, -100], [-100, -100]]
    assert np.isnan(preferred[0, 1])
    assert [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()] == [
        {"indices": [10, 11], "criterion": "writing_style", "reason": "no label", "detail": "of request 3", "order": 1}
    ]


def test_grades_are_written_with_the_preferences_derived_from_them(tmp_path: Path) -> None:
    def grades(prompt: str, repeat: int) -> list[float] | None:
        (text,) = texts_of(prompt)
        return None if text == 2 else [10 * strength(text), 10 * strength(text) - 1]

    asked = answered(example_requests("votes", "individual", num_votes=2), grades)
    preferred = tables.preferred(asked, PAIRS)
    tables.write(tmp_path, PAIRS, TWO, asked, preferred, asked.settings)
    rows = pq.read_table(tmp_path / "grades.parquet").to_pylist()
    assert [row["text"] for row in rows] == TEXTS
    assert [row["writing_style_grades"] for row in rows] == [[9, 8], [6, 5], [], [4, 3]]
    assert [row["writing_style_average"] for row in rows] == [8.5, 5.5, None, 3.5]
    judged = pq.read_table(tmp_path / "judgments.parquet").to_pylist()
    assert [row["method"] for row in judged] == ["grades", "grades"]
    assert [row["writing_style_average"][0][1] for row in judged] == [0.0, -100]  # 1 against 0; 0 against 2
    assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == 2
