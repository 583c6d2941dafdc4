"""The figures of a scorer's validation against their definitions."""

import numpy as np
import pytest

from qurating.metrics import scorer


@pytest.mark.parametrize("num_sequences", [30, 47, 100])
def test_agreement_at_the_top_is_as_defined(num_sequences: int) -> None:
    rng = np.random.default_rng(0)
    annotated = rng.normal(size=num_sequences)
    predicted = annotated + rng.normal(size=num_sequences)
    found = scorer.agreement_at_the_top(annotated, predicted, 0.3)
    size = 3 * num_sequences // 10
    a, b = (set(sorted(range(num_sequences), key=lambda i: -v[i])[:size]) for v in (annotated, predicted))
    precision, recall = len(a & b) / len(b), len(a & b) / len(a)
    assert found["num_sequences"] == size
    assert found["f1"] == pytest.approx(2 * precision * recall / (precision + recall) if a & b else 0)
    assert found["accuracy"] == pytest.approx(sum((i in a) == (i in b) for i in range(num_sequences)) / num_sequences)
    # chance: what random predictions have on average
    drawn = [scorer.agreement_at_the_top(annotated, rng.random(num_sequences), 0.3) for _ in range(1500)]
    for name in ("accuracy", "f1"):
        assert found[f"{name}_by_chance"] == pytest.approx(np.mean([d[name] for d in drawn]), abs=0.02)
    if num_sequences == 100:
        assert (found["accuracy_by_chance"], found["f1_by_chance"]) == (pytest.approx(0.58), pytest.approx(0.30))


def test_the_report_goes_by_ranks_that_clipping_does_not_touch() -> None:
    annotated = np.array([-9.0, -5.0, *np.linspace(-1, 1, 38)])
    predicted = np.array([-3.0, -4.0, *np.linspace(-1, 1, 38)])
    found = scorer.report(annotated, predicted, 3.0, ["a"] * 15 + ["b"] * 25)
    assert 0.99 < found["spearman"] < 1  # the first two are the wrong way round
    assert found["mse"] == pytest.approx(1 / 40)
    assert found["by_domain"].keys() == {"b"}  # 15 are too few
    assert found["by_domain"]["b"]["num_sequences"] == 25
