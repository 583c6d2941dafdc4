"""Asking the requests of a run: what is said and counted about a judge's limits before and after."""

from pathlib import Path

import pytest
from judge_fixtures import CRITERIA, endpoint, logprob_reply, respond
from judge_stage import run, settings

ONE = {"educational_value": CRITERIA["educational_value"]}


pytestmark = pytest.mark.usefixtures("quick_figures")


def test_an_estimate_comes_first_and_a_low_cap_is_announced(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = logprob_reply({"A": -0.3, "B": -1.4}) | {"usage": {"prompt_tokens": 10, "completion_tokens": 1}}
    with endpoint(lambda call: respond(reply)) as url:
        given = settings("endpoint", base_url=url, usd_per_million_tokens=[1, 1], max_cost_usd=0.01)
        run(tmp_path / "o", corpus, given, ONE)
    said = capsys.readouterr().out
    assert said.index("estimate: 24 calls") < said.index("judge.max_cost_usd=0.01 is less") < said.index("actual: 24")
