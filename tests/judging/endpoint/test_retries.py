"""Decisions on retries, waits and stops, at given times."""

import itertools

import pytest
from endpoint_client import endpoint_at

from qurating.judging.endpoint import refusals, retries
from qurating.judging.endpoint.base import Endpoint, NoReplyError
from qurating.judging.endpoint.refusals import Refusal
from qurating.judging.endpoint.retries import EndpointHealth, Next, Retries, UnansweredError
from qurating.runtime.errors import StageError

LOST = NoReplyError("no connection: the reply broke off", lost=True)
UNREACHED = NoReplyError("no connection: refused", lost=False)
TOO_LATE = NoReplyError("no reply within 5 seconds", lost=True, timed_out=True)


def where(**changes: float) -> Endpoint:
    return endpoint_at("http://x/v1", **changes)


def reply(status: int) -> Refusal:
    refusal = refusals.read(status, {"error": {"message": "words"}})
    assert refusal is not None
    return refusal


def test_a_request_has_its_retries_and_waits_longer_before_each() -> None:
    tries = Retries(where(max_retries=7))
    waits = [tries.no_reply(UNREACHED, 0.0) for _ in range(7)]
    for failures, seconds in enumerate(waits):
        longest = min(8.0, 0.5 * 2**failures)
        assert 0.75 * longest <= seconds <= longest
    with pytest.raises(UnansweredError, match="refused"):
        tries.no_reply(UNREACHED, 0.0)


def test_failures_of_every_kind_count_together() -> None:
    tries = Retries(where(max_retries=2))
    tries.no_reply(UNREACHED, 0.0)
    tries.refused(reply(502), 0.0)
    with pytest.raises(UnansweredError) as unanswered:
        tries.refused(reply(408), 0.0)
    assert unanswered.value.refusal == reply(408)
    assert unanswered.value.answer[:3] == (None, "HTTP 408", "words")


@pytest.mark.parametrize("status", [429, 503])
def test_refusals_are_waited_out_beyond_the_retries_for_as_long_as_patience_lasts(status: int) -> None:
    tries = Retries(where(max_retries=1, patience_seconds=30.0))
    for now in (100.0, 101.0, 120.0, 129.9):
        assert tries.refused(reply(status), now) <= retries.MAX_BACKOFF_SECONDS
    with pytest.raises(UnansweredError) as unanswered:
        tries.refused(reply(status), 130.1)
    assert (unanswered.value.refusal, unanswered.value.own_fault) == (reply(status), False)


def test_a_thousand_refusals_wait_no_longer_than_ten() -> None:
    tries = Retries(where(patience_seconds=1e9))
    assert max(tries.refused(reply(429), 0.0) for _ in range(2000)) <= retries.MAX_BACKOFF_SECONDS


@pytest.mark.parametrize(
    ("error", "own_fault", "lost_since"), [(LOST, False, 3.0), (TOO_LATE, True, 3.0), (UNREACHED, False, None)]
)
def test_who_may_be_to_blame(error: NoReplyError, own_fault: bool, lost_since: float | None) -> None:
    tries = Retries(where(max_retries=1))
    tries.no_reply(error, 3.0)
    with pytest.raises(UnansweredError) as unanswered:
        tries.no_reply(error, 4.0)
    assert (unanswered.value.own_fault, unanswered.value.lost_since) == (own_fault, lost_since)


def test_only_a_fault_of_the_server_with_this_request_may_be_its_own() -> None:
    def own_fault(status: int) -> bool:
        with pytest.raises(UnansweredError) as unanswered:
            Retries(where()).refused(reply(status), 0.0)
        return unanswered.value.own_fault

    assert [own_fault(status) for status in (500, 502, 503, 429)] == [True, False, False, False]


def unanswered(*, own_fault: bool = False, lost_since: float | None = None) -> UnansweredError:
    return UnansweredError("no connection", own_fault=own_fault, lost_since=lost_since)


def test_an_endpoint_that_never_answered_is_down_after_a_few_requests() -> None:
    health = EndpointHealth(where(max_concurrency=64, patience_seconds=300.0))
    for position in range(retries.MAX_UNANSWERED_IN_A_ROW - 1):
        assert health.unanswered(position, unanswered(), False, 0.0) is Next.AT_THE_END
    with pytest.raises(StageError, match="does not answer"):
        health.unanswered(99, unanswered(), False, 0.0)


def test_an_endpoint_that_has_answered_is_given_its_patience() -> None:
    health = EndpointHealth(where(max_concurrency=2, patience_seconds=300.0))
    health.answered(1000.0)
    for now in itertools.chain(range(1001, 1300, 10), [1300]):
        assert health.unanswered(1, unanswered(), False, float(now)) is Next.AT_THE_END
        assert health.unanswered(1, unanswered(), True, float(now)) is Next.NOW
    with pytest.raises(StageError, match="does not answer"):
        health.unanswered(1, unanswered(), True, 1300.5)


def test_an_answer_ends_the_row_of_those_without() -> None:
    health = EndpointHealth(where(max_concurrency=3))
    for position in range(20):
        assert health.unanswered(position, unanswered(), False, 10.0 * position) is Next.AT_THE_END
        if position % 2:
            health.answered(10.0 * position)


def test_at_the_end_a_request_that_may_be_the_reason_is_recorded_as_failed() -> None:
    health = EndpointHealth(where(patience_seconds=0.0))
    assert health.unanswered(5, unanswered(own_fault=True), False, 1.0) is Next.AT_THE_END
    assert health.unanswered(5, unanswered(own_fault=True), True, 2.0) is Next.FAILED


def test_a_request_is_blamed_for_broken_connections_only_if_others_were_answered_meanwhile() -> None:
    health = EndpointHealth(where(patience_seconds=300.0))
    health.answered(1.0)
    assert health.unanswered(5, unanswered(lost_since=2.0), False, 3.0) is Next.AT_THE_END
    assert health.unanswered(5, unanswered(lost_since=4.0), True, 5.0) is Next.NOW
    health.answered(6.0)
    assert health.unanswered(5, unanswered(lost_since=7.0), True, 8.0) is Next.FAILED
    assert health.unanswered(6, unanswered(lost_since=7.0), True, 8.0) is Next.NOW  # broke only after the answer


def test_what_is_said_of_an_endpoint_that_is_down_follows_the_status_not_the_words() -> None:
    refused = UnansweredError("HTTP 429: words", refusal=reply(429), own_fault=False)
    assert "HTTP 429: words, too many requests" in str(retries.down_error(where(), refused))
    elsewhere = UnansweredError("no connection: Cannot connect to host x:4290", own_fault=False)
    said = str(retries.down_error(where(), elsewhere))
    assert "does not answer" in said
    assert "too many requests" not in said
