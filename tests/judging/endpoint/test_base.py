"""Requests to an endpoint, its key, and what its errors mean."""

from typing import Any

import pytest
from endpoint_client import endpoint_at

from qurating.judging.endpoint.base import Request, UncertainStopError
from qurating.judging.endpoint.replies import AnswerError, ParameterError
from qurating.runtime.errors import StageError


def error_for(status: int, body: Any) -> Exception:
    where = endpoint_at("http://x/v1")
    refusal = where.refusal(status, body)
    assert refusal is not None
    return where.error_for(refusal)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_one_request_stops_no_others(status: int) -> None:
    found = error_for(status, {"error": {"message": "too long"}})
    assert isinstance(found, AnswerError)
    assert (found.reason, found.detail) == (f"HTTP {status}", "too long")


@pytest.mark.parametrize(
    ("status", "says"),
    [(301, "path or model"), (401, "refuses access"), (402, "quota is used up"), (405, "path or model")],
)
def test_a_refusal_of_all_requests_stops_the_run_with_the_words_of_the_endpoint(status: int, says: str) -> None:
    found = error_for(status, {"error": {"message": "such is life"}})
    assert isinstance(found, StageError)
    assert not isinstance(found, UncertainStopError)
    assert says in str(found)
    assert "such is life" in str(found)


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_that_may_be_about_one_request_is_that_if_others_are_answered(status: int) -> None:
    found = error_for(status, {"error": {"message": "no"}})
    assert isinstance(found, UncertainStopError)
    assert (found.instead.reason, found.instead.detail) == (f"HTTP {status}", "no")


def test_a_refused_parameter_leads_to_another_method() -> None:
    found = error_for(403, {"error": {"message": "You are not allowed to request logprobs from this model"}})
    assert isinstance(found, ParameterError)


def test_no_password_of_the_address_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    where = endpoint_at("http://me:hidden@x/v1", api_key_variable="MY_KEY")
    assert "http://x/v1" in str(where.stop_error("is odd"))
    assert where.redacted("hidden Bearer sk-very-secret") == "*** Bearer ***"


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(StageError, match="MY_KEY"):
        endpoint_at("http://x", api_key_variable="MY_KEY").api_key()


@pytest.mark.parametrize("key", ["sk-“quoted”", "sk-two\nlines", "sk–dash"])
def test_a_key_that_no_header_can_hold_is_a_sentence_without_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(StageError, match="MY_KEY has characters that no header can hold") as refused:
        endpoint_at("http://x", api_key_variable="MY_KEY").api_key()
    assert key not in str(refused.value)


def test_the_key_of_a_request_depends_on_all_that_can_change_its_answer() -> None:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 1.0}
    same = [Request(5, dict(reversed(body.items()))).key(), Request(0, body).key()]
    assert same[0] == same[1]
    changes: list[dict[str, Any]] = [{}, {"model": "n"}, {"temperature": 0.5}, {"n": 2}]
    assert len({Request(0, body | change).key() for change in changes}) == 4


def test_the_limit_on_the_tokens_of_a_thought_is_no_part_of_the_key() -> None:
    """What was answered under a lower limit is found again under a higher one."""
    bodies = [{"model": "m", "max_tokens": 20}, {"model": "m", "max_completion_tokens": 40}, {"model": "m", "n": 2}]
    assert len({Request(0, body).key() for body in bodies}) == 3
    short, long, other = (Request(0, body, limit_counts=False) for body in bodies)
    assert short.key() == long.key() != other.key()
    assert short.key() != Request(0, bodies[0], 1, limit_counts=False).key()
    assert b"20" in short.content


def test_an_endpoint_is_known_by_what_can_change_its_answers_and_not_by_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    azure = {"api": "azure", "api_key_variable": "MY_KEY"}
    known = [
        endpoint_at("https://one/v1"),
        endpoint_at("https://two/v1"),
        endpoint_at("https://one/v1", **azure, api_version="2024-06-01"),
        endpoint_at("https://one/v1", **azure, api_version="2024-10-21"),
        endpoint_at("http://127.0.0.1:5001/v1", answers_as="gguf 12ab"),
    ]
    assert len({each.identity for each in known}) == len(known)
    assert not [each for each in known if "sk-secret" in each.identity]
    same = endpoint_at("https://one/v1", api_key_variable="MY_KEY", timeout_seconds=9.0, max_concurrency=1)
    assert same.identity == known[0].identity
    assert endpoint_at("http://127.0.0.1:5002/v1", answers_as="gguf 12ab").identity == known[-1].identity
