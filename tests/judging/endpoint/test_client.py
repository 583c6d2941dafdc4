"""The client against an endpoint that works, fails, lies or dies: answers are kept, and nothing is sent twice."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from endpoint_client import ask, ask_all, endpoint_at, number_of, numbered_requests
from judge_fixtures import endpoint, respond
from ports import NOBODY_LISTENS

from qurating.judging.endpoint.client import open_client
from qurating.judging.endpoint.costs import Spending
from qurating.judging.endpoint.failures import FailureLimits
from qurating.judging.endpoint.response_log import Answer, ResponseLog
from qurating.runtime.errors import StageError


def test_many_at_once_but_never_more_than_allowed(tmp_path: Path) -> None:
    flying, most = 0, 0

    async def answer(call: dict[str, Any]) -> web.Response:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.01)
        flying -= 1
        return respond({"value": number_of(call)})

    with endpoint(answer) as url:
        found = ask(endpoint_at(url, max_concurrency=5), tmp_path / "j")
    assert found == {i: Answer([float(i)]) for i in range(30)}
    assert most == 5


def test_requests_are_drawn_no_faster_than_they_are_asked(tmp_path: Path) -> None:
    drawn, answered, ahead = 0, 0, 0

    def lazily() -> Any:
        nonlocal drawn, ahead
        for request in numbered_requests(40):
            drawn += 1
            ahead = max(ahead, drawn - answered)
            yield request

    def record(position: int, answer: Answer) -> None:
        nonlocal answered
        answered += 1

    response_log = ResponseLog(tmp_path / "j")
    with endpoint(lambda call: respond({"value": 1})) as url:
        asyncio.run(ask_all(endpoint_at(url), lazily(), response_log, record, Spending(None, None)))
    response_log.close()
    assert answered == 40
    assert ahead <= 4


def test_answers_in_the_log_are_not_requested_again_and_an_incomplete_line_is(tmp_path: Path) -> None:
    asked: Counter[int] = Counter()

    def answer(call: dict[str, Any]) -> web.Response:
        asked[number_of(call)] += 1
        return respond({"value": number_of(call)} if number_of(call) != 3 else {"prose": "Well"})

    response_log = tmp_path / "j"
    with endpoint(answer) as url:
        whole = ask(endpoint_at(url), response_log)
        lines = response_log.read_bytes().splitlines(keepends=True)
        assert len(lines) == 30
        response_log.write_bytes(b"".join(lines[:12]) + lines[12][:20])  # killed while it wrote
        known = [json.loads(line) for line in lines[:12]]
        answered = {line["reply"]["value"] for line in known if "reply" in line} | {
            3 for line in known if "reason" in line
        }
        asked.clear()
        assert ask(endpoint_at(url), response_log) == whole
        assert asked == Counter(i for i in range(30) if i not in answered)
        asked.clear()
        assert ask(endpoint_at(url), response_log) == whole
        assert not asked
    assert whole[3] == Answer(None, "prose", "Well")


def test_many_known_answers_do_not_keep_a_reply_waiting(tmp_path: Path) -> None:
    """It would be timed out, and paid twice."""
    found: dict[int, Answer] = {}
    response_log = ResponseLog(tmp_path / "j")
    new, known = numbered_requests(2)
    response_log.add(known.key(), Answer([1.0]), {"value": 1}, remember=True)

    def requests() -> Any:
        yield new
        deadline = time.monotonic() + 60
        while 0 not in found and time.monotonic() < deadline:
            yield known
        found_in_time.append(0 in found)

    found_in_time: list[bool] = []
    with endpoint(lambda call: respond({"value": 0})) as url:
        where = endpoint_at(url, timeout_seconds=120.0)
        asyncio.run(ask_all(where, requests(), response_log, found.__setitem__, Spending(None, None)))
    response_log.close()
    assert found_in_time == [True]
    assert found == {0: Answer([0.0]), 1: Answer([1.0])}


def test_an_endpoint_that_is_down(tmp_path: Path) -> None:
    url = f"{NOBODY_LISTENS}/v1"
    with pytest.raises(StageError, match=rf"{url} does not answer \(no connection(.|\n)*run the same command again"):
        ask(endpoint_at(url), tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == b""


def test_an_endpoint_that_dies_midway_and_comes_back(tmp_path: Path) -> None:
    num_answered = 0

    def dying(call: dict[str, Any]) -> web.Response:
        nonlocal num_answered
        num_answered += 1
        return respond({"value": number_of(call)}) if num_answered <= 11 else respond({}, 503)

    with endpoint(dying) as url, pytest.raises(StageError, match="HTTP 503"):
        ask(endpoint_at(url), tmp_path / "j")
    assert len((tmp_path / "j").read_bytes().splitlines()) == 11
    with endpoint(lambda call: respond({"value": number_of(call)})) as url:
        assert ask(endpoint_at(url), tmp_path / "j") == {i: Answer([float(i)]) for i in range(30)}


def test_passing_trouble_is_retried(tmp_path: Path) -> None:
    tries: Counter[int] = Counter()

    def answer(call: dict[str, Any]) -> web.Response:
        tries[number_of(call)] += 1
        if tries[number_of(call)] == 1 and number_of(call) % 5 == 0:
            return respond({}, 429, {"retry-after-ms": "5"})
        return respond({"value": number_of(call)})

    with endpoint(answer) as url:
        assert ask(endpoint_at(url, max_retries=2), tmp_path / "j") == {i: Answer([float(i)]) for i in range(30)}
    assert sum(tries.values()) == 36


def test_one_request_that_always_breaks_the_server_is_asked_again_at_the_end_and_recorded(tmp_path: Path) -> None:
    order: list[int] = []

    def answer(call: dict[str, Any]) -> web.Response:
        order.append(number_of(call))
        return respond({}, 500) if number_of(call) == 7 else respond({"value": 1})

    with endpoint(answer) as url:
        found = ask(endpoint_at(url), tmp_path / "j")
    assert found[7] == Answer(None, "HTTP 500")
    assert sum(answer.values is not None for answer in found.values()) == 29
    assert order.count(7) == 2
    assert order[-1] == 7


def test_a_request_that_never_returns_is_recorded(tmp_path: Path) -> None:
    async def answer(call: dict[str, Any]) -> web.Response:
        await asyncio.sleep(1.0 if number_of(call) == 2 else 0)
        return respond({"value": 1})

    with endpoint(answer) as url:
        found = ask(endpoint_at(url, timeout_seconds=0.3), tmp_path / "j", 6)
    assert found[2] == Answer(None, "no reply within 0.3 seconds")


async def broken(call: dict[str, Any]) -> web.StreamResponse:
    """A reply whose connection closes in its middle."""
    reply = web.StreamResponse(headers={"Content-Length": "500"})
    await reply.prepare(call["request"])
    await reply.write(b'{"value": ')
    call["request"].transport.close()
    return reply


def test_requests_that_always_break_their_connection_are_recorded(tmp_path: Path) -> None:
    asked: Counter[int] = Counter()

    async def answer(call: dict[str, Any]) -> web.StreamResponse:
        asked[number_of(call)] += 1
        if number_of(call) % 9 == 3:
            return await broken(call)
        await asyncio.sleep(0.02)
        return respond({"value": number_of(call)})

    with endpoint(answer) as url:
        found = ask(endpoint_at(url, max_retries=1), tmp_path / "j")
    failed = {number for number, answer in found.items() if answer.values is None}
    assert failed == {3, 12, 21}
    assert "broke off" in found[3].reason
    assert {number: asked[number] for number in failed} == dict.fromkeys(failed, 4)


def test_an_endpoint_that_breaks_every_connection_from_some_time_on_is_down(tmp_path: Path) -> None:
    num_asked = 0

    async def answer(call: dict[str, Any]) -> web.StreamResponse:
        nonlocal num_asked
        num_asked += 1
        return respond({"value": number_of(call)}) if num_asked <= 11 else await broken(call)

    with endpoint(answer) as url, pytest.raises(StageError, match="does not answer"):
        ask(endpoint_at(url, max_concurrency=1), tmp_path / "j")
    assert len((tmp_path / "j").read_bytes().splitlines()) == 11  # no request is blamed
    with endpoint(lambda call: respond({"value": number_of(call)})) as url:
        assert ask(endpoint_at(url), tmp_path / "j") == {i: Answer([float(i)]) for i in range(30)}


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "refuses access.*MY_KEY"), (403, "refuses access.*MY_KEY"), (404, "judge.base_url.*judge.model=m")],
)
def test_what_is_wrong_with_all_requests_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, says: str
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    num_asked = 0

    def answer(call: dict[str, Any]) -> web.Response:
        nonlocal num_asked
        num_asked += 1
        return respond({"error": {"message": f"bad key {call['headers']['Authorization']}"}}, status)

    with endpoint(answer) as url, pytest.raises(StageError, match=says) as stopped:
        ask(endpoint_at(url, api_key_variable="MY_KEY", max_retries=3), tmp_path / "j")
    assert num_asked <= 4
    assert "sk-very-secret" not in str(stopped.value)
    assert (tmp_path / "j").read_bytes() == b""


@pytest.mark.parametrize(("status", "message"), [(403, "your input was flagged"), (403, "no"), (404, "no provider")])
def test_a_refusal_of_one_request_among_others_that_are_answered_is_recorded(
    tmp_path: Path, status: int, message: str
) -> None:
    """A prompt that a filter refuses by the status of a wrong key must not stop every rerun."""

    def answer(call: dict[str, Any]) -> web.Response:
        refused = number_of(call) == 5
        return respond({"error": {"message": message}}, status) if refused else respond({"value": number_of(call)})

    with endpoint(answer) as url:
        found = ask(endpoint_at(url, max_concurrency=1), tmp_path / "j")
    assert found[5].values is None
    assert f"HTTP {status}" in found[5].reason
    assert found[5].detail == message
    assert sum(answer.values is not None for answer in found.values()) == 29


ERRORS_WITHIN_200 = [
    {"error": {"message": "slow down", "code": 429}},
    {"error": {"message": "slow down", "code": "rate_limit_exceeded"}},
    {"object": "error", "message": "engine is dead", "code": 500},
    {"error": "out of memory"},
    {"choices": [{"error": {"code": 502, "message": "provider is down"}, "finish_reason": "error"}]},
]


def test_errors_within_a_reply_of_status_200_are_waited_out(tmp_path: Path) -> None:
    tries: Counter[int] = Counter()

    def answer(call: dict[str, Any]) -> web.Response:
        number = number_of(call)
        tries[number] += 1
        if number % 3 == 0 and tries[number] == 1:
            return respond(ERRORS_WITHIN_200[number // 3 % 5], headers={"retry-after-ms": "1"})
        return respond({"value": number})

    with endpoint(answer) as url:
        found = ask(endpoint_at(url, max_retries=1), tmp_path / "j")
    assert found == {i: Answer([float(i)]) for i in range(30)}
    assert sum(tries.values()) == 40


def test_an_error_of_the_server_is_kept_in_its_words(tmp_path: Path) -> None:
    def answer(call: dict[str, Any]) -> web.Response:
        if number_of(call) == 7:
            return respond({"error": {"message": "out of memory"}}, 500)
        return respond({"value": 1})

    with endpoint(answer) as url:
        assert ask(endpoint_at(url), tmp_path / "j")[7] == Answer(None, "HTTP 500", "out of memory")


@pytest.mark.parametrize("status", [200, 402])
def test_credits_that_run_out_stop_the_run_and_blame_no_request(tmp_path: Path, status: int) -> None:
    num_asked = 0

    def answer(call: dict[str, Any]) -> web.Response:
        nonlocal num_asked
        num_asked += 1
        if num_asked > 12:
            return respond({"error": {"message": "Insufficient credits", "code": 402}}, status)
        return respond({"value": number_of(call)})

    with endpoint(answer) as url, pytest.raises(StageError, match=r"used up .*Insufficient credits"):
        ask(endpoint_at(url), tmp_path / "j")
    assert num_asked <= 16
    assert (tmp_path / "j").read_bytes().count(b"\n") == 12


def test_a_wait_beyond_the_patience_is_said_at_once(tmp_path: Path) -> None:
    error = {"error": {"message": "daily limit"}}
    with (
        endpoint(lambda call: respond(error, 429, {"retry-after": "3600"})) as url,
        pytest.raises(StageError, match=r"wait for 3,600 seconds \(HTTP 429: daily limit\).*patience_seconds=300"),
    ):
        ask(endpoint_at(url, patience_seconds=300.0, max_retries=3), tmp_path / "j")


def test_a_redirect_names_its_target_and_is_not_followed(tmp_path: Path) -> None:
    asked = 0

    def answer(call: dict[str, Any]) -> web.Response:
        nonlocal asked
        asked += 1
        return respond({}, 308, {"location": "https://elsewhere.example/v2"})

    with endpoint(answer) as url, pytest.raises(StageError, match=r"HTTP 308: redirects to https://elsewhere\.example"):
        ask(endpoint_at(url), tmp_path / "j")
    assert asked <= 4


def test_a_used_up_account_stops_at_once(tmp_path: Path) -> None:
    error = {"error": {"message": "pay", "code": "insufficient_quota"}}
    with endpoint(lambda call: respond(error, 429)) as url, pytest.raises(StageError, match="quota is used up"):
        ask(endpoint_at(url), tmp_path / "j")


def test_the_key_is_sent_but_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")

    def answer(call: dict[str, Any]) -> web.Response:
        key = call["headers"]["Authorization"]
        assert key == "Bearer sk-very-secret"
        if number_of(call) == 1:
            return respond({"error": {"message": f"refused for {key}"}}, 400)
        return respond({"value": 1})

    with endpoint(answer) as url:
        found = ask(endpoint_at(url, api_key_variable="MY_KEY"), tmp_path / "j")
    assert found[1].reason == "HTTP 400"
    assert "refused for Bearer ***" in found[1].detail
    assert b"sk-very-secret" not in (tmp_path / "j").read_bytes()


def test_unusable_answers_are_recorded_and_stop_nothing(tmp_path: Path) -> None:
    def answer(call: dict[str, Any]) -> web.Response:
        i = number_of(call)
        return respond("<html>" if i == 4 else {"prose": "hm"} if i % 10 == 0 else {"value": i})

    with endpoint(answer) as url:
        found = ask(endpoint_at(url), tmp_path / "j")
    assert {i: a.reason for i, a in found.items() if a.values is None} == {
        0: "prose",
        4: "the reply is not JSON",
        10: "prose",
        20: "prose",
    }


@pytest.mark.parametrize("number", [3, 300])
def test_nothing_but_unusable_answers_stops_and_blames_no_request(tmp_path: Path, number: int) -> None:
    num_asked = 0

    def answer(call: dict[str, Any]) -> web.Response:
        nonlocal num_asked
        num_asked += 1
        return respond({"prose": "As a language model"})

    with (
        endpoint(answer) as url,
        pytest.raises(StageError, match=r"no usable answer.*As a language model.*judge.method"),
    ):
        ask(endpoint_at(url), tmp_path / "j", number)
    assert num_asked <= FailureLimits().at_first + 4
    assert (tmp_path / "j").read_bytes() == b""  # sent again once the endpoint is mended


def test_what_is_in_flight_when_a_run_stops_is_logged(tmp_path: Path) -> None:
    """The key is withdrawn while slow answers, which are paid for, are under way."""

    async def answer(call: dict[str, Any]) -> web.Response:
        if number_of(call) == 3:
            await asyncio.sleep(0.05)
            return respond({"error": {"message": "no"}}, 401)
        await asyncio.sleep(0.3)
        return respond({"value": number_of(call)})

    with endpoint(answer) as url, pytest.raises(StageError, match="refuses access"):
        ask(endpoint_at(url), tmp_path / "j")
    assert (tmp_path / "j").read_bytes().count(b"\n") == 3


def test_an_interruption_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    async def answer(call: dict[str, Any]) -> web.Response:
        await asyncio.sleep(0.2)
        return respond({"value": number_of(call)})

    async def interrupted(url: str, response_log: ResponseLog) -> None:
        async with open_client(endpoint_at(url), response_log, Spending(None, None)) as client:
            task = asyncio.create_task(client.ask_all(numbered_requests(30), lambda r: [r["value"]], lambda i, a: None))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    response_log = ResponseLog(tmp_path / "j")
    with endpoint(answer) as url:
        asyncio.run(interrupted(url, response_log))
    response_log.close()
    assert (tmp_path / "j").read_bytes().count(b"\n") == 4
