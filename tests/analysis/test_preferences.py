"""The agreement of ratings with the judge, within domains and across."""

from pathlib import Path

import numpy as np
import pytest
from rated_example import judged, rated
from sklearn.metrics import roc_auc_score

from qurating.analysis.preferences import MIN_PAIRS, RATER, Judged, auc, held_out, preferences, read_judged
from qurating.analysis.rated import Rated
from qurating.artifacts.files import write_json
from qurating.artifacts.seeds import seed_for
from qurating.metrics.held_out import split


def test_the_area_is_that_of_both_orders_of_every_pair() -> None:
    draw = np.random.default_rng(1)
    preferred, other = draw.normal(0.4, 1, 50).round(1), draw.normal(size=50).round(1)
    difference = preferred - other
    expected = roc_auc_score([1] * 50 + [0] * 50, np.concatenate([difference, -difference]))
    found, low, high = auc(preferred, other)
    assert found == pytest.approx(expected)
    assert low is not None
    assert high is not None
    assert low < expected < high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Differences N(0.5, 1): d_i + d_j is N(1, 2), which is above 0 with probability Φ(1/√2) = 0.7602."""
    draw = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        _, low, high = auc(draw.normal(0.5, 1, 80), np.zeros(80))
        assert low is not None
        assert high is not None
        covered += low <= 0.7602 <= high
    assert 0.9 < covered / 300 < 0.99


def test_perfect_agreement_of_few_pairs_is_not_certain() -> None:
    found, low, high = auc(np.ones(30), np.zeros(30))
    assert (found, high) == (1.0, 1.0)
    assert low == pytest.approx(0.9)
    assert auc(np.ones(MIN_PAIRS - 1), np.zeros(MIN_PAIRS - 1)) == (None, None, None)


def example(agree_within: bool) -> tuple[Rated, Judged]:
    """Ratings that are the domain's alone, and pairs whose better text is known."""
    count = 400
    draw = np.random.default_rng(3)
    codes = np.arange(count) % 2
    quality = draw.normal(size=count) + 5 * codes
    ratings = quality if agree_within else codes + 0.001 * draw.normal(size=count)
    pairs = draw.integers(0, count, (500, 2))
    p = np.where(quality[pairs[:, 1]] > quality[pairs[:, 0]], 0.8, 0.2)
    p[0], p[1] = np.nan, 0.5  # no judgment, no preference
    return rated({"c": ratings}, ["ab"[code] for code in codes]), Judged(1000 + pairs, {"c": p, "other": p})


@pytest.mark.parametrize("agree_within", [True, False])
def test_a_rater_of_sources_agrees_across_domains_alone(agree_within: bool) -> None:
    given, pairs = example(agree_within)
    table, unknown, trained_on = preferences(given, pairs, lambda _: np.ones(500, bool))
    within, across = table.to_pylist()
    assert (within["where"], across["where"]) == ("within", "across")
    assert within["num_pairs"] + across["num_pairs"] == 498
    assert across["auc"] > 0.99
    assert (within["auc"] > 0.99) == agree_within
    assert within["low"] < (1.0 if agree_within else 0.5) <= within["high"]
    assert (unknown, trained_on) == (0, [])


def test_only_held_out_pairs_of_the_corpus_count() -> None:
    given, pairs = example(True)
    pairs.ids[:100, 1] = 5
    mask = np.arange(500) < 300
    table, unknown, _ = preferences(given, pairs, lambda _: mask)
    assert unknown == 100
    assert sum(table["num_pairs"].to_pylist()) == 200
    _, _, trained_on = preferences(given, pairs, lambda _: None)
    assert trained_on == ["c"]


def test_judgments_are_read_as_they_are_written(tmp_path: Path) -> None:
    judged(tmp_path, np.array([[1, 2], [3, 4]]), np.array([True, False]))
    found = read_judged(tmp_path)
    assert found.ids.tolist() == [[1, 2], [3, 4]]
    assert {name: p.tolist() for name, p in found.preference.items()} == {"style": [0.9, 0.1], "facts": [0.9, 0.1]}


def test_the_pairs_that_a_rater_has_not_seen(tmp_path: Path) -> None:
    judgments, rater, ratings = (tmp_path / name for name in ("judgments/j", "models/m", "ratings/r"))
    write_json(judgments / "manifest.json", {"name": "judgments/j", "fingerprint": "0123456789abcdef" * 4})
    config = {"validation_fraction": 0.1, "seed": 7}
    learned = {"inputs": {"judgments": "judgments/j (0123456789abcdef)"}, "config": config}
    write_json(rater / "manifest.json", learned)
    write_json(ratings / "manifest.json", {"stage": "rate", "inputs": {"rater": "models/m (00)"}})
    mask = held_out(ratings, judgments, 50, RATER)
    assert mask is not None
    assert set(np.flatnonzero(mask)) == set(split(50, 0.1, seed_for(7, "train_rater", "pairs"))[0].tolist())
    write_json(rater / "manifest.json", learned | {"inputs": {"judgments": "judgments/other (01)"}})
    mask = held_out(ratings, judgments, 50, RATER)
    assert mask is not None
    assert mask.all()
    write_json(ratings / "manifest.json", {"stage": "rate", "inputs": {}})  # an existing rater
    assert held_out(ratings, judgments, 50, RATER) is None
    write_json(ratings / "manifest.json", {"stage": "score", "inputs": {}})
    assert held_out(ratings, judgments, 50, RATER) is not None
