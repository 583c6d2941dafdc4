"""Failed requests that stop a run."""

import pytest
from endpoint_client import endpoint_at

from qurating.judging.endpoint.failures import FailureLimits, FailureStreak, nothing_usable_error, too_many_failed
from qurating.judging.endpoint.response_log import Answer


def streak(limits: FailureLimits) -> FailureStreak:
    return FailureStreak(endpoint_at("http://x/v1"), limits)


def test_failures_in_a_row_of_one_reason_stop_a_run_and_are_quoted() -> None:
    row = streak(FailureLimits(in_a_row=5))
    failure = Answer(None, "HTTP 400", "no such option")
    assert [row.failed(failure) for _ in range(4)] == [None] * 4
    assert r"5 requests in a row (HTTP 400: no such option)" in str(row.failed(failure))


def test_a_usable_answer_or_another_reason_ends_a_row() -> None:
    row = streak(FailureLimits(in_a_row=3))
    for _ in range(10):
        assert row.failed(Answer(None, "prose")) is None
        assert row.failed(Answer(None, "prose")) is None
        row.usable()
        assert row.failed(Answer(None, "HTTP 400")) is None
        assert row.failed(Answer(None, "HTTP 400")) is None


def test_one_bad_text_fails_the_requests_about_its_pair_and_stops_no_run() -> None:
    calls_per_pair = 160  # four criteria, two orders, twenty separate votes
    limits = FailureLimits.of(calls_per_pair, 0.05)
    assert limits.at_first > 2 * calls_per_pair
    assert limits.in_a_row is not None
    assert limits.in_a_row > 20 * calls_per_pair
    assert FailureLimits.of(8, 0.9).in_a_row == 8 * 200  # the user expects many failures
    row = streak(FailureLimits.of(8, 1.0))
    assert not any(row.failed(Answer(None, "prose")) for _ in range(10_000))


def test_what_is_said_of_failures() -> None:
    answers = [Answer(None, "prose", "Well"), Answer(None, "HTTP 400", "flagged"), Answer(None, "prose", "Hm")]
    said = str(too_many_failed(0.25, 0.05, answers))
    assert "25.0 % of the judgments failed, more than judge.max_failed_fraction=0.05" in said
    assert said.index("2 times prose: Well") < said.index("1 times HTTP 400: flagged")
    assert "first 3 requests (prose: Well)" in str(nothing_usable_error(endpoint_at("http://x/v1"), answers))


@pytest.mark.parametrize(("fraction", "pairs"), [(0.0, 20), (0.05, 22), (0.5, 40)])
def test_the_limit_grows_with_the_failures_that_are_allowed(fraction: float, pairs: int) -> None:
    assert FailureLimits.of(4, fraction).in_a_row == 4 * pairs
