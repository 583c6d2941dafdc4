"""What an endpoint's refusals say, and mean."""

import pytest

from qurating.judging.endpoint import base
from qurating.judging.endpoint.base import Reply
from qurating.judging.endpoint.replies import AnswerError
from qurating.runtime.errors import StageError
from tests.judging.endpoint.test_client import at


def test_what_a_refusal_says_is_read_in_every_form() -> None:
    assert base.error_of(b'{"error": {"message": "m", "code": "c"}}') == ("m", "c")
    assert base.error_of(b'{"error": "plain"}') == ("plain", "")
    assert base.error_of(b"<html>") == ("<html>", "")
    where = at("http://x/v1")
    assert "no such path or model" in str(where.refused(Reply(301, {}, b"")))


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_one_request_stops_no_others(status: int) -> None:
    found = at("http://x/v1").refused(Reply(status, {}, b'{"error": {"message": "too long"}}'))
    assert isinstance(found, AnswerError)
    assert (found.reason, found.detail) == (f"HTTP {status}", "too long")
    assert not base.may_pass(status)


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405])
def test_a_refusal_of_all_requests_stops_the_run(status: int) -> None:
    assert isinstance(at("http://x/v1").refused(Reply(status, {}, b"")), StageError)
    assert not base.may_pass(status)


def test_what_may_pass_and_what_asks_for_patience() -> None:
    passing = [status for status in range(200, 600) if base.may_pass(status)]
    assert passing == [408, 409, 429, *range(500, 600)]
    assert [status for status in passing if base.asks_for_patience(status)] == [429, 503]
