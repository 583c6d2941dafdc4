"""Prices, estimates, and a cap that holds at any concurrency, against a server that bills tokens."""

import asyncio
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from endpoint_client import endpoint_at
from judge_fixtures import CRITERIA, endpoint, logprob_reply, respond
from judge_stage import run, settings

from qurating.artifacts.files import read_json
from qurating.corpus.files import ROOT
from qurating.judging.endpoint.base import Request
from qurating.judging.endpoint.client import open_client
from qurating.judging.endpoint.costs import CapReachedError, Estimate, Price, Spending, find_price, prompt_limit
from qurating.judging.endpoint.response_log import ResponseLog
from qurating.runtime.errors import StageError

PRICES = ROOT / "conf" / "prices.yaml"
ONE = {"educational_value": CRITERIA["educational_value"]}


pytestmark = pytest.mark.usefixtures("quick_figures")


def test_prices_are_found_by_name_with_their_date_and_halved_by_batches() -> None:
    price = find_price("gpt-4o-mini-2024-07-18", PRICES, None, batch=False)
    assert price == Price(0.15, 0.60, "prices.yaml, 2026-03")
    half = find_price("gpt-4o-mini", PRICES, None, batch=True)
    assert half == Price(0.075, 0.30, "prices.yaml, 2026-03 by the Batch API")
    assert find_price("my-own-model", PRICES, None, batch=False) is None
    assert find_price("my-own-model", PRICES, [1, 2], batch=True) == Price(0.5, 1.0, "given by the Batch API")
    assert Price(2.0, 8.0, "").usd(500_000, 250_000) == pytest.approx(3.0)


@pytest.mark.parametrize("given", [[1], ["a", "b"], [-1, 2], 3])
def test_prices_that_are_none(given: Any) -> None:
    with pytest.raises(StageError, match="price"):
        find_price("m", PRICES, given, batch=False)


def test_a_price_table_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("as_of: 2026\nbatch_factor: half\n")
    with pytest.raises(StageError, match=r"judge.prices=.*p\.yaml cannot be read"):
        find_price("m", tmp_path / "p.yaml", None, batch=True)


def body(i: int) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": f"{i} " + "word " * 40}]}


@pytest.mark.parametrize("concurrency", [1, 16])
@pytest.mark.parametrize("bills", ["all it can", "a quarter", "nothing said"])
def test_the_cap_holds_whatever_the_concurrency(tmp_path: Path, concurrency: int, bills: str) -> None:
    """The server bills at most one token per byte; the sum over all answered calls stays within the cap."""
    billed = 0.0
    price = Price(1000.0, 1000.0, "test")

    async def answer(call: dict[str, Any]) -> web.Response:
        nonlocal billed
        await asyncio.sleep(0.002)
        tokens = prompt_limit(call["body"]) // (4 if bills == "a quarter" else 1)
        billed += price.usd(tokens, 1)
        said = {} if bills == "nothing said" else {"usage": {"prompt_tokens": tokens, "completion_tokens": 1}}
        return respond({"value": 1} | said)

    async def ask(url: str, response_log: ResponseLog, cap: float | None) -> Counter[int]:
        where = endpoint_at(url, max_concurrency=concurrency)
        spending = Spending(price, cap, response_log.prompt_tokens, response_log.completion_tokens)
        seen: Counter[int] = Counter()
        async with open_client(where, response_log, spending) as client:
            try:
                await client.ask_all(
                    (Request(i, body(i)) for i in range(100)),
                    lambda reply: [reply["value"]],
                    lambda i, _: seen.update([i]),
                )
            finally:
                assert spending.usd == pytest.approx(billed)
                assert spending.reserved_usd == pytest.approx(0)
        return seen

    most = price.usd(prompt_limit(body(99)), 1)
    cap = 20.5 * most
    with endpoint(answer) as url:
        response_log = ResponseLog(tmp_path / "j")
        with pytest.raises(
            CapReachedError, match=r"judge.max_cost_usd=.* is reached.*(.|\n)*higher judge.max_cost_usd"
        ):
            asyncio.run(ask(url, response_log, cap))
        response_log.close()
        assert cap - 1.01 * most < billed <= cap
        num_answered = (tmp_path / "j").read_bytes().count(b"\n")
        response_log = ResponseLog(tmp_path / "j")
        assert Spending(price, None, response_log.prompt_tokens, response_log.completion_tokens).usd == pytest.approx(
            billed
        )
        seen = asyncio.run(ask(url, response_log, None))
        response_log.close()
    assert seen == Counter(range(100))
    assert 20 <= num_answered < 100


def paid(call: dict[str, Any]) -> web.Response:
    reply = logprob_reply({"A": math.log(0.25), "B": math.log(0.75)})
    return respond(reply | {"usage": {"prompt_tokens": 500, "completion_tokens": 1}})


def test_the_stage_says_what_it_will_cost_stops_at_the_cap_and_goes_on_with_a_higher_one(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: Counter[str] = Counter()

    def answer(call: dict[str, Any]) -> web.Response:
        asked[json.dumps(call["body"], sort_keys=True)] += 1
        return paid(call)

    with endpoint(answer) as url:
        # 500 tokens at $1 per thousand: 50 cents a call, at most about $1.40 by its bytes
        given = settings("endpoint", base_url=url, usd_per_million_tokens=[1000.0, 0.0], max_cost_usd=6.0)
        with pytest.raises(StageError, match=r"judge\.max_cost_usd=6 is reached"):
            run(tmp_path / "o", corpus, given, ONE)
        assert not (tmp_path / "o" / "judgments.parquet").exists()
        so_far = len(asked)
        assert 6 <= so_far <= 12
        said = capsys.readouterr().out
        assert "estimate: 24 calls, about" in said
        assert "at $1000 and $0 per million tokens (given)" in said
        assert "judge.max_cost_usd=6 is less: the run stops there, and continues with a higher cap" in said
        counts = run(tmp_path / "o", corpus, given | {"max_cost_usd": None}, ONE)
    assert len(asked) == 24
    assert set(asked.values()) == {1}
    assert counts["usd"] == pytest.approx(12.0)
    said = capsys.readouterr().out
    assert f"already answered: {so_far} of these calls, ${so_far / 2:.2f}" in said
    assert "actual: 24 calls, about 12K prompt" in said
    cost = read_json(tmp_path / "o" / "costs.json")
    assert cost["actual"]["prompt_tokens"] == 12_000
    assert cost["estimate"]["num_calls"] == 24
    assert 6_000 < cost["estimate"]["prompt_tokens"] < 24_000


def test_an_unknown_price_is_said_and_a_cap_on_it_refused(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with endpoint(paid) as url:
        with pytest.raises(StageError, match=r"no price of m\. .*judge.usd_per_million_tokens"):
            run(tmp_path / "o", corpus, settings("endpoint", base_url=url, max_cost_usd=1.0), ONE)
        counts = run(tmp_path / "o", corpus, settings("endpoint", base_url=url), ONE)
    assert "the price of m is unknown (judge.usd_per_million_tokens=[PROMPT,COMPLETION])" in capsys.readouterr().out
    assert "usd" not in counts


def test_a_cap_needs_a_limit_on_the_answer(tmp_path: Path, corpus: Path) -> None:
    given = settings("openai", request_options={"max_tokens": None, "max_completion_tokens": None}, max_cost_usd=1.0)
    given["usd_per_million_tokens"] = [1.0, 2.0]
    with pytest.raises(StageError, match="limit on the length of an answer"):
        run(tmp_path / "o", corpus, given, ONE)


def test_a_share_of_an_estimate() -> None:
    whole = Estimate(40, 4000, 80, 2.0)
    assert whole.share(10) == Estimate(10, 1000, 20, 0.5)
    assert whole.share(40) == whole
    assert Estimate(0, 0, 0, None).share(0) == Estimate(0, 0, 0, None)
