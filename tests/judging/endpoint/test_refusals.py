"""What refusals concern, in the words of servers."""

import json
from typing import Any

import pytest

from qurating.judging.endpoint import refusals
from qurating.judging.endpoint.refusals import Kind


def kind(status: int, body: Any) -> Kind | None:
    text = body if isinstance(body, str) else json.dumps(body)
    found = refusals.read(status, None if isinstance(body, str) else body, text)
    return found and found.kind


def error(message: str, **others: Any) -> dict[str, Any]:
    return {"error": {"message": message, **others}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (403, error("You are not allowed to request logprobs from this model"), Kind.PARAMETER),
        (403, error("Your chosen model requires moderation and your input was flagged"), Kind.FILTERED),
        (403, error("Forbidden"), Kind.ACCESS),
        (403, error("bad key Bearer ***"), Kind.ACCESS),
        (401, error("no"), Kind.ACCESS),
        (400, error("API key not valid. Please pass a valid API key."), Kind.ACCESS),
        (400, error("Authentication Error, Invalid proxy server token passed. key not found in db"), Kind.ACCESS),
        (400, error("/chat/completions: Invalid model name passed in model=x. Call `/v1/models`"), Kind.PLACE),
        (404, error("The model `x` does not exist", code="model_not_found"), Kind.PLACE),
        (404, "", Kind.PLACE),
        (405, "", Kind.PLACE),
        (307, "", Kind.PLACE),
        (402, error("This request requires more credits, or fewer max_tokens"), Kind.QUOTA),
        (429, error("You exceeded your current quota", code="insufficient_quota"), Kind.QUOTA),
        (429, error("You exceeded your current quota", status="RESOURCE_EXHAUSTED"), Kind.WAIT),
        (400, error("Budget has been exceeded! Current cost: 1", type="budget_exceeded"), Kind.QUOTA),
        (400, error("The response was filtered", code="content_filter"), Kind.FILTERED),
        (400, error("This model's maximum context length is 4096 tokens; max_tokens is 1"), Kind.REQUEST),
        (400, error("Unsupported parameter: 'max_tokens'", code="unsupported_parameter"), Kind.PARAMETER),
        (400, error("n must be 1"), Kind.PARAMETER),
        (501, error("logprobs is not implemented"), Kind.PARAMETER),
        (400, {"object": "error", "message": "logprobs of 20 is greater than 5", "code": 400}, Kind.PARAMETER),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, Kind.REQUEST),
        (400, error("something new"), Kind.REQUEST),
        (413, "", Kind.REQUEST),
        (500, error("oops"), Kind.WAIT),
        (503, "<html>busy</html>", Kind.WAIT),
        (429, [{"error": {"message": "slow down", "code": 429}}], Kind.WAIT),
        # within an HTTP 200
        (200, error("slow down", code=429), Kind.WAIT),
        (200, error("slow down", code="429"), Kind.WAIT),
        (200, error("slow down", code="rate_limit_exceeded"), Kind.WAIT),
        (200, error("slow down", type="overloaded_error"), Kind.WAIT),
        (200, {"error": "out of memory"}, Kind.WAIT),
        (200, {"object": "error", "message": "engine is dead", "code": 500}, Kind.WAIT),
        (200, {"choices": [{"error": {"code": 502, "message": "provider is down"}}]}, Kind.WAIT),
        (200, error("no more", code="insufficient_quota"), Kind.QUOTA),
        (200, error("no", code="invalid_api_key"), Kind.ACCESS),
        (200, error("flagged", code=403), Kind.FILTERED),
        (200, error("logprobs are not supported", type="invalid_request_error"), Kind.PARAMETER),
    ],
)
def test_kinds(status: int, body: Any, expected: Kind) -> None:
    assert kind(status, body) is expected


@pytest.mark.parametrize(
    "body",
    [{"choices": [{"message": {"content": "A"}}], "error": None}, {"choices": [{"error": None}]}, {}, [], "A", None],
)
def test_an_answer_is_no_refusal(body: Any) -> None:
    assert refusals.read(200, body) is None


@pytest.mark.parametrize(("status", "certain"), [(401, True), (403, False), (404, False), (402, True), (405, True)])
def test_only_some_statuses_may_be_about_one_request_alone(status: int, certain: bool) -> None:
    found = refusals.read(status, {})
    assert found is not None
    assert found.kind.is_of_all
    assert found.certain is certain


def test_the_words_and_where_they_came_from() -> None:
    assert str(refusals.read(400, error("too big"))) == "HTTP 400: too big"
    assert str(refusals.read(503, None, "<html>")) == "HTTP 503: <html>"
    assert str(refusals.read(200, error("slow", code="429"))) == "error 429 within HTTP 200: slow"
    assert str(refusals.read(500, {}, "{}")) == "HTTP 500"
    assert str(refusals.read(400, error("no", metadata={"flagged_input": "x"}))).startswith("content filter (HTTP 400)")
    assert str(refusals.read(422, {"detail": "odd"})) == "HTTP 422: odd"


def test_which_refusals_ask_for_fewer_requests() -> None:
    throttling = [refusals.read(status, {}) for status in (408, 429, 500, 502, 503, 529)]
    assert [found is not None and found.is_throttling for found in throttling] == [
        False,
        True,
        False,
        False,
        True,
        True,
    ]
