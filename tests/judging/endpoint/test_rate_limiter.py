"""The limit on requests in flight, against endpoints that refuse requests or break down for a while."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from endpoint_client import ALL, ask, endpoint_at, number_of
from judge_fixtures import endpoint, respond

from qurating.judging.endpoint.rate_limiter import RateLimiter, retry_after, seconds_in


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


def test_the_limit_grows_with_answers_and_halves_once_for_all_requests_in_flight() -> None:
    async def walk() -> None:
        rate_limiter = RateLimiter(max_in_flight=64, start=4)
        entered = [await rate_limiter.enter() for _ in range(4)]
        blocked = asyncio.create_task(rate_limiter.enter())
        await asyncio.sleep(0)
        assert not blocked.done()
        for _ in range(4):
            rate_limiter.answered({})
            rate_limiter.leave()
        await asyncio.sleep(0)
        assert blocked.done()
        assert rate_limiter.limit == 8  # doubled in a round
        for _ in range(3):
            rate_limiter.refused(entered[0], {}, 0.0)
        assert rate_limiter.limit == 4
        for _ in range(4):
            rate_limiter.answered({})
        assert 4.8 < rate_limiter.limit < 5.1  # by one in a round, from here on
        for _ in range(20):
            rate_limiter.refused(await asyncio.to_thread(time.monotonic), {}, 0.0)
        assert rate_limiter.limit == 1

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
        assert ask(endpoint_at(url, max_concurrency=8, patience_seconds=30.0), tmp_path / "j") == ALL
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
        assert ask(endpoint_at(url, max_concurrency=2, patience_seconds=30.0), tmp_path / "j") == ALL
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
        assert ask(endpoint_at(url, max_concurrency=4, patience_seconds=8.0), tmp_path / "j") == ALL
