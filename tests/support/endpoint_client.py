"""Numbered requests, sent to an endpoint by the real client."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qurating.judging.endpoint.base import Endpoint, Request
from qurating.judging.endpoint.client import open_client
from qurating.judging.endpoint.costs import Spending
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Answer, ResponseLog

ALL = {i: Answer([float(i)]) for i in range(30)}  # the answers to `ask`, from a server that returns the number


def endpoint_at(base_url: str, **changes: Any) -> Endpoint:
    given = {"max_concurrency": 4, "timeout_seconds": 5.0, "max_retries": 0, "loopback": True} | changes
    return Endpoint(base_url=base_url, model="m", **given)


def numbered_requests(number: int) -> list[Request]:
    return [
        Request(i, {"model": "m", "messages": [{"role": "user", "content": f"question {i}"}]}) for i in range(number)
    ]


def number_of(call: dict[str, Any]) -> int:
    """The number of the request that a server has received."""
    return int(call["body"]["messages"][0]["content"].split()[1])


def parse(reply: Any) -> list[float]:
    if "prose" in reply:
        raise AnswerError("prose", reply["prose"])
    return [float(reply["value"])]


async def ask_all(
    where: Endpoint, requests: Iterable[Request], response_log: ResponseLog, record: Any, spending: Spending
) -> None:
    async with open_client(where, response_log, spending) as client:
        await client.ask_all(requests, parse, record)


def ask(where: Endpoint, log_file: Path, number: int = 30, spending: Spending | None = None) -> dict[int, Answer]:
    """Send numbered requests that have no answer in the log; returns all answers by position."""
    found: dict[int, Answer] = {}

    def record(position: int, answer: Answer) -> None:
        assert position not in found
        found[position] = answer

    response_log = ResponseLog(log_file)
    try:
        requests = iter(numbered_requests(number))
        asyncio.run(ask_all(where, requests, response_log, record, spending or Spending(None, None)))
    finally:
        response_log.close()
    return found
