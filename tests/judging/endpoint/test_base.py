"""Requests to an endpoint, its key, and what its errors mean."""

from typing import Any

import pytest
from endpoint_client import endpoint_at

from qurating.judging.endpoint import base
from qurating.judging.endpoint.base import Reply, Request
from qurating.judging.endpoint.replies import AnswerError
from qurating.runtime.errors import StageError


def test_the_message_of_an_error_is_read_in_every_form() -> None:
    assert base.error_of(b'{"error": {"message": "m", "code": "c"}}') == ("m", "c")
    assert base.error_of(b'{"error": "plain"}') == ("plain", "")
    assert base.error_of(b"<html>") == ("<html>", "")
    where = endpoint_at("http://x/v1")
    assert "does not know this path or model" in str(where.error_for(Reply(301, {}, b"")))


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_one_request_stops_no_others(status: int) -> None:
    found = endpoint_at("http://x/v1").error_for(Reply(status, {}, b'{"error": {"message": "too long"}}'))
    assert isinstance(found, AnswerError)
    assert (found.reason, found.detail) == (f"HTTP {status}", "too long")
    assert not base.is_transient(status)


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405])
def test_a_refusal_of_all_requests_stops_the_run(status: int) -> None:
    assert isinstance(endpoint_at("http://x/v1").error_for(Reply(status, {}, b"")), StageError)
    assert not base.is_transient(status)


def test_which_errors_are_transient_and_which_ask_for_fewer_requests() -> None:
    transient = [status for status in range(200, 600) if base.is_transient(status)]
    assert transient == [408, 409, 429, *range(500, 600)]
    assert [status for status in transient if base.is_throttling(status)] == [429, 503]


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(StageError, match="MY_KEY"):
        endpoint_at("http://x", api_key_variable="MY_KEY").api_key()


def test_the_key_of_a_request_depends_on_all_that_can_change_its_answer() -> None:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 1.0}
    same = [Request(5, dict(reversed(body.items()))).key(), Request(0, body).key()]
    assert same[0] == same[1]
    changes: list[dict[str, Any]] = [{}, {"model": "n"}, {"temperature": 0.5}, {"n": 2}]
    assert len({Request(0, body | change).key() for change in changes}) == 4
