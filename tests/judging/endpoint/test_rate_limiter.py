"""Endpoints that ask for patience, or break down for a while."""

import asyncio
import dataclasses
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from judge_fixtures import endpoint, respond

from qurating.judging.endpoint import client
from qurating.judging.endpoint.costs import Spending
from qurating.judging.endpoint.rate_limiter import Pace, retry_after, seconds_in
from qurating.judging.endpoint.response_log import Answer, Journal, Request
from qurating.runtime.errors import StageError
from tests.judging.endpoint.test_client import ask, at, number_of, requests

ALL = {i: Answer([float(i)]) for i in range(30)}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("1s", 1), ("6m0s", 360), ("1h2m3.5s", 3723.5), ("2", 2), ("", 0), ("soon", 0)],
)
def test_durations_of_headers(text: str, seconds: float) -> None:
    assert seconds_in(text) == pytest.approx(seconds)


def test_retry_after_in_seconds_milliseconds_or_as_a_date() -> None:
    assert retry_after({"retry-after": "3"}) == 3
    assert retry_after({"retry-after-ms": "250", "retry-after": "3"}) == 0.25
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert retry_after({"retry-after": date}) == pytest.approx(20, abs=2)
    assert retry_after({"retry-after": "later"}) is None
    assert retry_after({}) is None


def test_the_gate_widens_with_answers_and_halves_once_for_all_that_were_in_flight() -> None:
    async def walk() -> None:
        pace = Pace(most=64, start=4)
        entered = [await pace.enter() for _ in range(4)]
        blocked = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)
        assert not blocked.done()
        for _ in range(4):
            pace.answered({})
            pace.leave()
        await asyncio.sleep(0)
        assert blocked.done()
        assert pace.width == 8  # doubled in a round
        for _ in range(3):
            pace.refused(entered[0], {}, 0.0)
        assert pace.width == 4
        for _ in range(4):
            pace.answered({})
        assert 4.8 < pace.width < 5.1  # by one in a round, from here on
        for _ in range(20):
            pace.refused(await asyncio.to_thread(time.monotonic), {}, 0.0)
        assert pace.width == 1

    asyncio.run(walk())


def test_refusals_for_a_while_are_waited_out_by_all(tmp_path: Path) -> None:
    """429 with Retry-After for 0.6 seconds: every request is answered in the end, and hardly any in vain."""
    begun, in_vain = time.monotonic(), Counter[str]()

    async def answer(call: dict[str, Any]) -> web.Response:
        await asyncio.sleep(0.005)
        if 0.05 < time.monotonic() - begun < 0.6:
            in_vain["429"] += 1
            return respond(
                {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, 429, {"retry-after": "0.2"}
            )
        return respond({"value": number_of(call)})

    with endpoint(answer) as url:
        begun = time.monotonic() + 0.05
        assert ask(at(url, max_concurrency=8, patience_seconds=30.0), tmp_path / "j") == ALL
    assert in_vain["429"] <= 8 + 4 * 4


def test_an_allowance_that_is_used_up_is_not_run_into(tmp_path: Path) -> None:
    """x-ratelimit headers: ten calls a window of 0.3 seconds; whoever comes too early is refused."""
    windows: Counter[int] = Counter()
    refused = 0
    begun = time.monotonic()

    def answer(call: dict[str, Any]) -> web.Response:
        nonlocal refused
        window, into = divmod(time.monotonic() - begun, 0.3)
        windows[int(window)] += 1
        left = 10 - windows[int(window)]
        headers = {"x-ratelimit-remaining-requests": str(max(0, left))}
        headers["x-ratelimit-reset-requests"] = f"{int(1000 * (0.3 - into)) + 5}ms"
        refused += left < 0
        return respond({"value": number_of(call)} if left >= 0 else {}, 200 if left >= 0 else 429, headers)

    with endpoint(answer) as url:
        assert ask(at(url, max_concurrency=2, patience_seconds=30.0), tmp_path / "j") == ALL
    assert refused <= 3


def test_a_burst_of_errors_after_a_first_answer_is_outlived(tmp_path: Path) -> None:
    num_seen, since = 0, 0.0

    def answer(call: dict[str, Any]) -> web.Response:
        nonlocal num_seen, since
        num_seen += 1
        since = since or (time.monotonic() if num_seen > 5 else 0.0)
        if since and time.monotonic() - since < 0.5:
            return respond("<html>Bad gateway</html>", 502)
        return respond({"value": number_of(call)})

    with endpoint(answer) as url:
        assert ask(at(url, max_concurrency=4, patience_seconds=8.0), tmp_path / "j") == ALL


def test_what_is_in_flight_when_a_run_stops_is_journalled(tmp_path: Path) -> None:
    """The key is withdrawn while slow answers, which are paid for, are under way."""

    async def answer(call: dict[str, Any]) -> web.Response:
        if number_of(call) == 3:
            await asyncio.sleep(0.05)
            return respond({"error": {"message": "no"}}, 401)
        await asyncio.sleep(0.3)
        return respond({"value": number_of(call)})

    with endpoint(answer) as url, pytest.raises(StageError, match="refuses access"):
        ask(at(url), tmp_path / "j")
    assert (tmp_path / "j").read_bytes().count(b"\n") == 3


def test_an_interruption_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    async def answer(call: dict[str, Any]) -> web.Response:
        await asyncio.sleep(0.2)
        return respond({"value": number_of(call)})

    async def interrupted(url: str, journal: Journal) -> None:
        async with client.opened(at(url), journal, Spending(None, None)) as asking:
            task = asyncio.create_task(asking.ask_all(requests(30), lambda r: [r["value"]], lambda i, a: None))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    journal = Journal(tmp_path / "j")
    with endpoint(answer) as url:
        asyncio.run(interrupted(url, journal))
    journal.close()
    assert (tmp_path / "j").read_bytes().count(b"\n") == 4


def test_azure_by_its_own_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "azure-secret")
    seen: list[dict[str, Any]] = []

    def answer(call: dict[str, Any]) -> web.Response:
        seen.append({"path": call["request"].path_qs, "key": call["headers"].get("api-key")})
        return respond({"value": number_of(call)}) if len(seen) > 1 else respond({}, 503, {"retry-after": "0"})

    with endpoint(answer) as url:
        where = at(
            url.removesuffix("/v1"), api_key_variable="MY_KEY", api="azure", api_version="2024-10-21", max_retries=2
        )
        assert ask(where, tmp_path / "j") == ALL
        with pytest.raises(StageError, match="knows no such path"):
            ask(dataclasses.replace(where, base_url=url + "/other"), tmp_path / "k")
    assert {s["path"] for s in seen} == {"/openai/deployments/m/chat/completions?api-version=2024-10-21"}
    assert {s["key"] for s in seen} == {"azure-secret"}


def test_a_journal_of_equal_requests_keeps_them_apart(tmp_path: Path) -> None:
    body = {"model": "m", "messages": []}
    keys = [Request(0, body, repeat).key() for repeat in range(3)]
    assert len(set(keys)) == 3
    journal = Journal(tmp_path / "j", remember=True)
    for number, key in enumerate(keys):
        journal.add(key, Answer([float(number)], prompt_tokens=5))
    assert [journal.get(key) for key in keys] == [Answer([float(n)], "", "", 5) for n in range(3)]
    journal.close()
    again = Journal(tmp_path / "j")
    assert [again.get(key) for key in keys] == [Answer([float(n)], "", "", 5) for n in range(3)]
    assert (again.prompt_tokens, again.num_usable, len(again)) == (15, 3, 3)
    again.close()
