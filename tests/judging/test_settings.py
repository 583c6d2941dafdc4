"""Invalid settings and criteria of a judge, and their messages."""

from pathlib import Path
from typing import Any

import pytest
from judge_fixtures import CRITERIA, real_corpus
from judge_stage import run, settings

from qurating.judging.settings import JudgeSettings
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_corpus(tmp_path_factory.mktemp("corpus") / "c")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "guess"}, "auto, logprobs, votes or separate_votes"),
        ({"modell": "x"}, "no setting modell"),
        ({"min_words": 20}, "judge.min_words is now called min_tokens"),
        ({"num_pairs": 0}, "num_pairs is 0"),
        ({"num_pairs": "many"}, "num_pairs is many: it must be a whole number"),
        ({"max_cost_usd": "abc"}, "max_cost_usd is abc: it must be a sum in US dollars"),
        ({"simulated": False}, "judge.base_url"),
        ({"simulated": False, "base_url": "http://x/v1", "api_key_variable": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"prompt": "conf/prompts/none.txt"}, "none.txt"),
        ({"num_pairs": 10**6}, "different pairs.*Lower judge.num_pairs"),
        ({"min_tokens": 10**6}, "and 0 of them can be judged"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, corpus: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(StageError, match=says):
        run(tmp_path / "o", corpus, settings(**changes))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": None}, "conf/criterion/humour.yaml: `question` is missing"),
        ({"simulated_weights": None}, "conf/criterion/humour.yaml: `simulated_weights` is missing.*judge=endpoint"),
        ({"simulated_weights": {"wit": 1.0}}, "no statistic wit"),
        ({"name": "humor"}, "conf/criterion/humour.yaml: `name` is 'humor'"),
    ],
)
def test_criteria_that_are_incomplete(tmp_path: Path, corpus: Path, change: dict[str, Any], says: str) -> None:
    humour: dict[str, Any] = {"name": "humour", "question": "Which is funnier?", "description": "Laughs."}
    humour |= {"simulated_weights": {"even_sentences": 1.0}} | change
    with pytest.raises(StageError, match=says):
        run(tmp_path / "o", corpus, settings(), {"humour": humour})


ONE = {"educational_value": CRITERIA["educational_value"]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mode": "individual", "method": "logprobs"}, "judge.mode=individual samples grades"),
        ({"mode": "both"}, "pairwise or individual"),
        ({"simulated": True, "mode": "individual"}, "the simulated judge compares pairs"),
        ({"api": "azure"}, "judge.api_version is not set"),
        ({"triple_fraction": 2}, "triple_fraction is 2"),
        ({"max_cost_usd": -1}, "max_cost_usd is -1"),
        ({"max_failed_fraction": 1.5}, "max_failed_fraction is 1.5"),
        ({"timeout_seconds": "abc"}, "timeout_seconds is abc: it must be a number"),
        ({"timeout_seconds": 0}, "timeout_seconds is 0"),
        ({"patience_seconds": None}, "patience_seconds is None"),
        ({"request_options": {"max_tokens": "many"}}, "request_options.max_tokens is many: it must be a whole number"),
        ({"request_options": "fast"}, "request_options is fast: it must be a mapping"),
        ({"max_thinking_tokens": 0}, "max_thinking_tokens is 0"),
        ({"max_thinking_tokens": "long"}, "max_thinking_tokens is long"),
        ({"max_thinking_tokens": 9, "method": "logprobs"}, "judge.method=logprobs reads the first token"),
        ({"max_thinking_tokens": 9, "label_options": {"logit_bias": {"32": 100}}}, "biases the thought, too"),
        ({"max_thinking_tokens": 9, "request_options": {"max_tokens": 9}}, "set the same limit: remove the former"),
        ({"reasoning_effort": 3}, "reasoning_effort is 3: it must be a word"),
        ({"token_limit": "max"}, "token_limit is 'max': it must be max_tokens or max_completion_tokens"),
        ({"temperature": "hot"}, "temperature is hot"),
        ({"label_pattern": "([AB]"}, r"judge.label_pattern=\(\[AB\]: it is no regular expression"),
        ({"label_pattern": "[AB]"}, "it has no group"),
        ({"label_pattern": "(?:A|A|A)+([AB])c"}, "it takes too long"),
        ({"label_pattern": "([AB])", "method": "logprobs"}, "which judge.method=logprobs does not ask for"),
        ({"label_pattern": "([AB])", "mode": "individual"}, "which judge.mode=individual does not ask for"),
        (
            {"request_options": {"max_tokens": None}, "max_cost_usd": 1, "usd_per_million_tokens": [1, 1]},
            "without a limit on the length of an answer",
        ),
        ({"base_url": "localhost:8000/v1"}, "is not an http:// or https:// address"),
    ],
)
def test_more_settings_that_cannot_work(tmp_path: Path, corpus: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(StageError, match=says):
        run(tmp_path / "o", corpus, settings("endpoint", **({"base_url": "http://127.0.0.1:9/v1"} | changes)), ONE)


def test_the_options_of_a_request() -> None:
    def options(**changes: Any) -> dict[str, Any]:
        return JudgeSettings.read(settings("endpoint", base_url="http://127.0.0.1:9/v1", **changes)).body({"n": 4})

    assert options() == {"model": "m", "n": 4, "temperature": 1.0, "max_tokens": 1}
    assert options(temperature=None, token_limit="max_completion_tokens") == {
        "model": "m", "n": 4, "max_completion_tokens": 1,
    }  # fmt: skip
    thinking = options(max_thinking_tokens=100, reasoning_effort="high", request_options={"top_p": 0.5})
    assert (thinking["max_tokens"], thinking["reasoning_effort"], thinking["top_p"]) == (116, "high", 0.5)
    assert options(mode="individual", max_thinking_tokens=100)["max_tokens"] == 116
    assert options(label_pattern="(?i)text ([ab])")["max_tokens"] == 16
    assert "max_tokens" not in options(max_thinking_tokens=100, request_options={"max_tokens": None})
    given = {"max_completion_tokens": 5, "max_tokens": None, "temperature": None}
    assert options(request_options=given) == {"model": "m", "n": 4, "max_completion_tokens": 5}


@pytest.mark.parametrize(
    ("changes", "methods"),
    [
        ({}, ("logprobs", "votes", "separate_votes")),
        ({"max_thinking_tokens": 9}, ("votes", "separate_votes")),
        ({"label_pattern": "([AB])"}, ("votes", "separate_votes")),
        ({"mode": "individual"}, ("votes", "separate_votes")),
    ],
)
def test_log_probabilities_are_tried_where_a_label_comes_first(changes: dict[str, Any], methods: tuple[str]) -> None:
    given = settings("endpoint", base_url="http://127.0.0.1:9/v1", **changes)
    assert JudgeSettings.read(given).methods == methods
