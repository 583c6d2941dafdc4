"""How many requests may be in flight: up to a maximum, fewer after the endpoint has refused some."""

import asyncio
import collections
import email.utils
import re
import time
from collections.abc import Mapping

MAX_PAUSE_SECONDS = 120.0  # upper bound of a pause, even if a header states a longer one
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class RateLimiter:
    """A limit on requests in flight that adapts to the endpoint, as TCP adapts its congestion window.

    `limit` starts at `start` and grows by one per answer, up to `max_in_flight`. A refusal (429, 503) halves it, once
    for all requests in flight at that time. From then on it grows by one per round of `limit` answers. `Retry-After`
    and exhausted `x-ratelimit-*` headers pause all requests for the time they state.
    """

    def __init__(self, max_in_flight: int, start: int = 32) -> None:
        self.max_in_flight, self.limit = max_in_flight, float(min(max_in_flight, start))
        self.in_flight = 0
        self.resume_at = 0.0
        self._additive = False  # after the first refusal: growth by one per round
        self._halved_at = 0.0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> float:
        """Wait for a place in flight and take it; returns the time, which `refused` needs."""
        while self.in_flight >= int(self.limit) or time.monotonic() < self.resume_at:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._wake_later()
            await turn
        self.in_flight += 1
        return time.monotonic()

    def leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def answered(self, headers: Mapping[str, str]) -> None:
        """Raise the limit after a reply; pause if its headers report an exhausted rate limit."""
        if self.limit < self.max_in_flight:
            self.limit = min(self.max_in_flight, self.limit + (1.0 / self.limit if self._additive else 1.0))
        if "x-ratelimit-remaining-requests" in headers or "x-ratelimit-remaining-tokens" in headers:
            for kind in ("requests", "tokens"):
                if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0":
                    self.pause(seconds_in(headers.get(f"x-ratelimit-reset-{kind}", "")) or 1.0)

    def refused(self, entered: float, headers: Mapping[str, str], seconds: float) -> None:
        """Lower the limit after a refusal of a request that `entered` at that time, and pause as its headers say.

        `seconds`: the pause if the headers state none.
        """
        if entered >= self._halved_at:
            self.limit, self._additive, self._halved_at = max(1.0, self.limit / 2), True, time.monotonic()
        self.pause(retry_after(headers) or seconds)

    def pause(self, seconds: float) -> None:
        self.resume_at = max(self.resume_at, time.monotonic() + min(seconds, MAX_PAUSE_SECONDS))

    def release_all(self) -> None:
        """Let every waiting call in: the run has stopped, and nothing more is sent."""
        self.limit, self.max_in_flight, self.resume_at = 1e9, 10**9, 0.0
        self._wake()

    def _wake(self) -> None:
        if time.monotonic() < self.resume_at:
            return self._wake_later()
        room = int(self.limit) - self.in_flight
        while self._waiting and room > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1

    def _wake_later(self) -> None:
        left = self.resume_at - time.monotonic()
        if left > 0 and (self._timer is None or self._timer.when() <= asyncio.get_running_loop().time()):
            self._timer = asyncio.get_running_loop().call_later(left, self._wake)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms`, or by `retry-after` in seconds or as a date; None without them."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        given = headers.get(name, "").strip()
        try:
            return max(0.0, float(given) * unit)
        except ValueError:
            if given and (date := email.utils.parsedate_tz(given)):
                return max(0.0, email.utils.mktime_tz(date) - time.time())
    return None


def seconds_in(text: str) -> float:
    """Seconds of a duration in a rate-limit header: `20ms`, `1s`, `6m0s`, `2`; 0 for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text.strip())
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else 0.0
