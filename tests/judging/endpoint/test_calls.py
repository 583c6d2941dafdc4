"""One call: what its reply is worth, and what it costs if the reply is lost."""

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web
from endpoint_client import ask, endpoint_at, number_of
from judge_fixtures import endpoint, respond
from ports import NOBODY_LISTENS

from qurating.judging.endpoint.base import Request
from qurating.judging.endpoint.client import open_client
from qurating.judging.endpoint.costs import Price, Spending, prompt_limit
from qurating.judging.endpoint.response_log import Answer, ResponseLog

BODY = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "word " * 40}]}


def test_a_reply_that_is_not_quite_json_counts(tmp_path: Path) -> None:
    """NaN and half characters, which some servers send, lose no answer that is paid for; nor does keeping them."""
    said = ['{"value": 1.5, "logprob": NaN}', '{"prose": "\\ud800"}']

    with endpoint(lambda call: respond(said[number_of(call) % 2])) as url:
        found = ask(endpoint_at(url), tmp_path / "j", 4)
    assert [found[i].values for i in range(4)] == [[1.5], None, [1.5], None]
    assert found[1].detail == "\ud800"
    assert ask(endpoint_at(f"{NOBODY_LISTENS}/v1"), tmp_path / "j", 4) == found


def test_a_call_whose_reply_is_lost_counts_as_paid(tmp_path: Path) -> None:
    """The connection closes in the middle of a reply, once; the call is repeated, and the cap counts both."""
    num_asked = 0

    async def answer(call: dict[str, Any]) -> web.StreamResponse:
        nonlocal num_asked
        num_asked += 1
        if num_asked == 1:
            broken = web.StreamResponse(headers={"Content-Length": "500"})
            await broken.prepare(call["request"])
            await broken.write(b'{"value": ')
            call["request"].transport.close()
            return broken
        return respond({"value": 1, "usage": {"prompt_tokens": 10, "completion_tokens": 1}})

    async def ask(url: str) -> Spending:
        response_log, spending = ResponseLog(tmp_path / "j"), Spending(Price(1.0, 1.0, "test"), None)
        found: dict[int, Answer] = {}
        async with open_client(endpoint_at(url, max_concurrency=1, max_retries=1), response_log, spending) as client:
            await client.ask_all([Request(0, BODY)], lambda reply: [reply["value"]], found.__setitem__)
        response_log.close()
        assert found == {0: Answer([1], "", "", 10, 1)}
        return spending

    with endpoint(answer) as url:
        spending = asyncio.run(ask(url))
    assert num_asked == 2
    assert spending.prompt_tokens == prompt_limit(BODY) + 10
    again = ResponseLog(tmp_path / "j")
    assert (again.prompt_tokens, len(again)) == (spending.prompt_tokens, 1)
    again.close()
