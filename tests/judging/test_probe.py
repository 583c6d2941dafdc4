"""The method that an endpoint supports, by questions to servers with their manners."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web
from judge_fixtures import CRITERIA, endpoint, logprob_reply, respond
from judge_stage import run, settings

from qurating.artifacts.files import read_json
from qurating.judging.probe import divisor
from qurating.runtime.errors import StageError

ONE = {"educational_value": CRITERIA["educational_value"]}


pytestmark = pytest.mark.usefixtures("quick_figures")


def refusal(message: str, status: int = 400) -> web.Response:
    return respond({"error": {"message": message}}, status)


def choices(number: int, content: str | None = "A", finish: str = "stop") -> web.Response:
    return respond({"choices": [{"message": {"content": content}, "finish_reason": finish}] * number})


class Server:
    """Answers by `manner(body)`, or else with log-probabilities or choices, and notes what it was asked."""

    def __init__(self, manner: Callable[[dict[str, Any]], web.Response | None]) -> None:
        self.manner = manner
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, call: dict[str, Any]) -> web.Response:
        self.bodies.append(body := call["body"])
        if (found := self.manner(body)) is not None:
            return found
        return respond(logprob_reply({"A": -0.2, "B": -1.7})) if "logprobs" in body else choices(body.get("n", 1))


def asked(server: Server, folder: Path, corpus: Path, **changes: Any) -> str:
    """The method of the finished judgments."""
    with endpoint(server) as url:
        run(folder / "o", corpus, settings("endpoint", base_url=url, num_pairs=3, max_concurrency=1) | changes, ONE)
    (method,) = set(pq.read_table(folder / "o" / "judgments.parquet")["method"].to_pylist())
    return str(method)


NO_LOGPROBS = "You are not allowed to request logprobs from this model"


@pytest.mark.parametrize("status", [400, 403, 422, 500, 501])
def test_log_probabilities_that_are_refused_lead_to_votes(tmp_path: Path, corpus: Path, status: int) -> None:
    server = Server(lambda body: refusal(NO_LOGPROBS, status) if "logprobs" in body else None)
    assert asked(server, tmp_path, corpus) == "votes"
    assert sum("logprobs" in body for body in server.bodies) == 1
    assert len(server.bodies) == 1 + 6


def filtered(body: dict[str, Any], how: str) -> web.Response:
    return {
        "by status": lambda: refusal("Your input was flagged", 403),
        "with unknown words": lambda: refusal("no", 403),
        "as a bad request": lambda: refusal("something new", 400),
        "in the reply": lambda: choices(1, None, "content_filter"),
        "by the judge": lambda: respond({"choices": [{"message": {"content": None, "refusal": "I cannot"}}]}),
    }[how]()


@pytest.mark.parametrize("how", ["by status", "with unknown words", "as a bad request", "in the reply", "by the judge"])
def test_one_filtered_question_decides_nothing(tmp_path: Path, corpus: Path, how: str) -> None:
    first: list[str] = []

    def manner(body: dict[str, Any]) -> web.Response | None:
        question = json.dumps(body["messages"])
        first.append(question)
        return filtered(body, how) if question == first[0] else None

    server = Server(manner)
    assert asked(server, tmp_path, corpus, max_failed_fraction=0.2) == "logprobs"
    assert all(body["top_logprobs"] == 20 for body in server.bodies)
    assert sum(found["num_requests"] for found in read_json(tmp_path / "o" / "summary.json")["failed"].values()) == 1


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("Requested sample logprobs of 20, which is greater than max allowed: 5", 5),
        ("Invalid value for 'top_logprobs': must be less than or equal to 8.", 8),
        ("top_logprobs is too large", 5),
    ],
)
def test_the_largest_number_of_log_probabilities_is_found_and_kept(
    tmp_path: Path, corpus: Path, message: str, most: int
) -> None:
    server = Server(lambda body: refusal(message) if body.get("top_logprobs", 0) > most else None)
    assert asked(server, tmp_path, corpus) == "logprobs"
    assert [body["top_logprobs"] for body in server.bodies][-6:] == [most] * 6


@pytest.mark.parametrize(
    ("most", "message", "number"),
    [(8, "n must be at most 8", 5), (10, "n is too large", 10), (4, None, 4), (7, None, 5)],
)
def test_the_largest_number_of_votes_per_call_is_found(
    tmp_path: Path, corpus: Path, most: int, message: str | None, number: int
) -> None:
    def manner(body: dict[str, Any]) -> web.Response | None:
        if "logprobs" in body:
            return refusal(NO_LOGPROBS)
        if body["n"] > most:
            return refusal(message) if message else choices(most)
        return None

    server = Server(manner)
    given = {"usd_per_million_tokens": [1, 1], "max_cost_usd": 100.0}
    assert asked(server, tmp_path, corpus, **given) == "votes"
    numbers = [body["n"] for body in server.bodies if "n" in body]
    assert numbers == [20] + [number] * (6 * 20 // number)
    (row, *_) = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()
    assert row["educational_value_votes_a"] == [[-100, 20], [20, -100]]


def test_a_fallback_that_multiplies_the_cost_needs_consent(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(lambda body: refusal("not supported: logprobs, n") if {"logprobs", "n"} & body.keys() else None)
    price = {"usd_per_million_tokens": [1, 1]}
    for given in ({}, price, price | {"max_cost_usd": 0.03}):
        with pytest.raises(StageError, match=r"judge\.method=separate_votes, which takes 120 calls instead of 6"):
            asked(server, tmp_path, corpus, **given)
    assert len(server.bodies) == 3  # the method is found once
    assert "separate_votes; estimate: 120 calls" in capsys.readouterr().out
    assert asked(server, tmp_path, corpus, **price, max_cost_usd=5.0) == "separate_votes"
    assert len(server.bodies) == 2 + 120
    (tmp_path / "chosen").mkdir()
    assert asked(server, tmp_path / "chosen", corpus, method="separate_votes") == "separate_votes"


def test_an_endpoint_that_fails_whatever_it_is_asked_is_down(tmp_path: Path, corpus: Path) -> None:
    server = Server(lambda body: refusal("out of memory", 500))
    with pytest.raises(StageError, match=r"does not answer \(HTTP 500: out of memory"):
        asked(server, tmp_path, corpus)
    server = Server(lambda body: refusal("no", 403))
    with pytest.raises(StageError, match=r"refuses access \(HTTP 403: no"):
        asked(server, tmp_path, corpus)
    assert len(server.bodies) == 9


def test_divisors() -> None:
    assert [divisor(20, most) for most in (1, 3, 4, 8, 19, 20, 99)] == [1, 2, 4, 5, 10, 20, 20]
    assert divisor(7, 6) == 1
