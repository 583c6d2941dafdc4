"""Calls and dollars of a judge, against the paper's and against the estimate of the stage itself."""

from typing import Any

import pytest
from hydra import compose
from omegaconf import OmegaConf

from qurating.pipeline.planning.judge_calls import estimate
from qurating.runtime.errors import StageError

pytestmark = pytest.mark.usefixtures("conf")


def given(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config: dict[str, Any] = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)  # type: ignore[assignment]
    return config["judge"], config["criteria"]


def test_the_papers_judge_costs_what_the_paper_says() -> None:
    """$3.4K is an estimate itself: 250,000 pairs, four criteria, both orders, with the model's price of 2023."""
    found, note = estimate(*given("scale=paper"), snippet_tokens=448)
    assert found.num_calls == 2_000_000
    assert found.usd is not None
    assert 1_700 < found.usd < 6_800
    assert "judge.max_cost_usd=10 is less" in note


def test_settings_of_the_judge_count() -> None:
    cheap = ["judge=openai", "judge.model=gpt-4o-mini", "judge.num_pairs=1000"]
    online, _ = estimate(*given(*cheap), snippet_tokens=448)
    batch, _ = estimate(*given(*cheap, "judge.transport=batch"), snippet_tokens=448)
    assert online.usd is not None
    assert batch.usd == pytest.approx(online.usd / 2)
    votes, _ = estimate(*given(*cheap, "judge.method=separate_votes"), snippet_tokens=448)
    assert votes.num_calls == 20 * online.num_calls
    longer, _ = estimate(*given(*cheap), snippet_tokens=896)
    assert longer.prompt_tokens - online.prompt_tokens == pytest.approx(8000 * 2 * 448, rel=0.02)


def test_an_unknown_price_is_said_and_a_cap_without_one_refused() -> None:
    unpriced = ["judge=openai", "judge.model=some-model"]
    found, note = estimate(*given(*unpriced, "judge.max_cost_usd=null"), snippet_tokens=448)
    assert found.usd is None
    assert "the price of some-model is unknown" in note
    with pytest.raises(StageError, match="cannot be enforced"):
        estimate(*given(*unpriced), snippet_tokens=448)


def test_the_thoughts_of_a_reasoning_model_are_in_the_estimate() -> None:
    chosen = ["judge=openai_reasoning", "judge.num_pairs=1000", "judge.max_thinking_tokens=2000"]
    found, note = estimate(*given(*chosen), snippet_tokens=448)
    assert found.num_calls == 8000
    assert found.completion_tokens == 8000 * 4 * 2016
    assert found.usd == pytest.approx((0.25 * found.prompt_tokens + 2.00 * found.completion_tokens) / 1e6)
    assert "with all 2,000 tokens of thought for each vote" in note
    assert "log-probabilities" not in note
