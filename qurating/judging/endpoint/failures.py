"""When failed requests stop a run: at its beginning, and later if many in a row fail for one reason."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qurating.judging.endpoint.base import Endpoint
from qurating.judging.endpoint.response_log import Answer
from qurating.runtime.errors import StageError


class FailureLimits(NamedTuple):
    """Numbers of failed requests that stop a run.

    `at_first`: before any usable answer; a setting must be wrong. `in_a_row`: later, for one reason; None: never.
    """

    at_first: int = 20
    in_a_row: int | None = 20

    @classmethod
    def of(cls, calls_per_pair: int, max_failed_fraction: float) -> "FailureLimits":
        """Limits for a run in which up to `max_failed_fraction` of the judgments may fail.

        Requests about one pair come one after another, and one bad text fails them all: several pairs must fail.
        """
        if max_failed_fraction >= 1:
            return cls(max(20, 3 * calls_per_pair), None)
        return cls(max(20, 3 * calls_per_pair), calls_per_pair * math.ceil(20 / (1 - max_failed_fraction) - 1e-9))


@dataclass
class FailureStreak:
    """Failed requests since the last usable answer, if they have one reason."""

    endpoint: Endpoint
    limits: FailureLimits
    _num_failed: int = 0
    _reason: str = ""

    def usable(self) -> None:
        self._num_failed = 0

    def failed(self, answer: Answer) -> StageError | None:
        """Count a failure; returns the error that ends the run if it is one too many."""
        self._num_failed = self._num_failed + 1 if answer.reason == self._reason else 1
        self._reason = answer.reason
        if self.limits.in_a_row is None or self._num_failed < self.limits.in_a_row:
            return None
        return self.endpoint.stop_error(
            f"gave no usable answer to {self._num_failed:,} requests in a row ({example(answer)}). They are asked "
            "again; judge.max_failed_fraction=1 goes on in spite of failures"
        )


def example(answer: Answer) -> str:
    return f"{answer.reason}: {answer.detail}" if answer.detail else answer.reason


def nothing_usable_error(endpoint: Endpoint, answers: Sequence[Answer]) -> StageError:
    """The error for an endpoint that gave only these unusable answers."""
    return endpoint.stop_error(
        f"gave no usable answer to any of the first {len(answers)} requests ({example(answers[0])}): check "
        "judge.model, judge.method, judge.label_pattern, judge.request_options and judge.prompt"
    )


def too_many_failed(share: float, max_failed_fraction: float, failures: Sequence[Answer]) -> StageError:
    """The error for a run of which too large a share failed."""
    by_reason: dict[str, list[Answer]] = {}
    for answer in failures:
        by_reason.setdefault(answer.reason, []).append(answer)
    most_first = sorted(by_reason.values(), key=len, reverse=True)
    reasons = "\n".join(f"    {len(answers):,} times {example(answers[0])}" for answers in most_first[:10])
    return StageError(
        f"{100 * share:.1f} % of the judgments failed, more than judge.max_failed_fraction={max_failed_fraction:g} "
        f"allows, and nothing is published:\n{reasons}\n  Answers so far are kept: the same command asks the failed "
        "requests again. A higher judge.max_failed_fraction publishes with them as missing"
    )
