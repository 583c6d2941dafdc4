"""Endpoints that ask for patience, break down for a while, or speak HTTP in their own way."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from judge_fixtures import endpoint, respond

from qurating.judging.endpoint import client, transport
from qurating.judging.endpoint.costs import Spending
from qurating.judging.endpoint.rate_limiter import Pace, retry_after, seconds_in
from qurating.judging.endpoint.response_log import Answer, Journal, Request
from qurating.judging.endpoint.transport import NoReplyError, Reply
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
            ask(where._replace(base_url=url + "/other"), tmp_path / "k")
    assert {s["path"] for s in seen} == {"/openai/deployments/m/chat/completions?api-version=2024-10-21"}
    assert {s["key"] for s in seen} == {"azure-secret"}


def test_a_proxy_is_used_where_one_is_set_and_never_on_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(call: dict[str, Any]) -> web.Response:
        asked.append(str(call["request"].headers["Host"]))
        return respond({"value": number_of(call)})

    with endpoint(answer) as url:
        monkeypatch.setenv("http_proxy", url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "")
        ask(at("http://judge.example/v1", loopback=False), tmp_path / "j")
        assert set(asked) == {"judge.example"}
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert ask(at(url), tmp_path / "k") == ALL


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(handler: Callable[[int], list[bytes]], num_requests: int, pause_seconds: float = 0.0) -> list[Any]:
    """What our side makes of a server that writes these pieces to its n-th request, then closes if the last is b""."""
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                seen += 1
                for piece in handler(seen):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def go() -> list[Any]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        where = at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", timeout_seconds=1.0)
        found: list[Any] = []
        async with transport.opened(where, transport.client(where)) as direct:
            for _ in range(num_requests):
                try:
                    reply = await direct.send(Request(0, {"n": 1}))
                    found.append((reply.status, reply.content))
                except NoReplyError as error:
                    found.append((str(error), error.lost))
                await asyncio.sleep(pause_seconds)
        server.close()
        await asyncio.sleep(0.02)
        return found

    return asyncio.run(go())


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
BROKEN = "no connection: the reply broke off"
CASES: list[tuple[list[bytes], Any]] = [
    ([OK + b"{}"], (200, b"{}")),
    ([OK[:20], OK[20:], b"{", b"}"], (200, b"{}")),
    ([b"HTTP/1.1 100 Continue\r\n\r\n", OK, b"{}"], (200, b"{}")),
    (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1;x=y\r\n}\r", b"\n0\r\n\r\n"],
        (200, b"{}"),
    ),
    ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{", b"}", b""], (200, b"{}")),
    ([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b"")),
    ([OK + b"{", b""], (BROKEN, True)),
    ([b""], (BROKEN, True)),
    ([b"SSH-2.0-server\r\n\r\n"], (BROKEN, True)),
    (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"],
        (BROKEN, True),
    ),
]


def test_a_question_is_not_silently_sent_twice_when_a_used_connection_dies() -> None:
    asked: list[int] = []

    def pieces(n: int) -> list[bytes]:
        asked.append(n)
        return [OK + b"{}"] if n == 1 else [b""]

    found = talk(pieces, 2)
    assert found[0] == (200, b"{}")
    assert found[1][1]  # lost: it may have been paid for
    assert asked == [1, 2]


@pytest.mark.parametrize(("pieces", "expected"), CASES)
def test_http_as_servers_speak_it(pieces: list[bytes], expected: Any) -> None:
    found = talk(lambda n: pieces, 2)
    # libcurl's own words for what is wrong follow
    assert [(BROKEN, lost) if str(said).startswith(BROKEN) else (said, lost) for said, lost in found] == [expected] * 2


def test_a_connection_closed_for_being_idle_is_opened_anew() -> None:
    found = talk(lambda n: [OK + b"{}", b""] if n == 1 else [OK + b"[]"], 2, pause_seconds=0.1)
    assert found == [(200, b"{}"), (200, b"[]")]


def test_a_reply_that_does_not_come_is_a_time_out_and_nobody_there_is_not_lost() -> None:
    assert talk(lambda n: [], 1) == [("no reply within 1 seconds", True)]

    async def nobody() -> None:
        where = at("http://127.0.0.1:9/v1")
        async with transport.opened(where, transport.client(where)) as direct:
            with pytest.raises(NoReplyError) as refused:
                await direct.send(Request(0, {}))
        assert not refused.value.lost

    asyncio.run(nobody())


def test_what_a_refusal_says_is_read_in_every_form() -> None:
    assert client.error_of(b'{"error": {"message": "m", "code": "c"}}') == ("m", "c")
    assert client.error_of(b'{"error": "plain"}') == ("plain", "")
    assert client.error_of(b"<html>") == ("<html>", "")
    where = at("http://x/v1")
    assert "no such path or model" in str(where.refused(Reply(301, {}, b"")))


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
