"""How many requests may be in flight: as many as are allowed, fewer where an endpoint asks for patience."""

import asyncio
import collections
import email.utils
import re
import time
from collections.abc import Mapping

MAX_PAUSE_SECONDS = 120.0  # whatever a header says
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class Pace:
    """A gate for requests whose width follows the endpoint, in the manner of TCP.

    It opens with `start` requests at once and grows by one with each answer, up to `most`. A refusal (429, 503) halves
    it, once for all requests that were in flight then, and from there it grows by one a round. `Retry-After` and
    spent-up `x-ratelimit-*` headers close the gate for as long as they say.
    """

    def __init__(self, most: int, start: int = 32) -> None:
        self.most, self.width = most, float(min(most, start))
        self.in_flight = 0
        self.resume_at = 0.0
        self._careful = False  # after the first refusal: by one a round
        self._halved_at = 0.0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> float:
        """Wait for a place, and take it; returns when, as `leave` and `refused` want to know."""
        while self.in_flight >= int(self.width) or time.monotonic() < self.resume_at:
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
        """A reply that was no refusal: room for more, unless its headers say that the allowance is used up."""
        if self.width < self.most:
            self.width = min(self.most, self.width + (1.0 / self.width if self._careful else 1.0))
        if "x-ratelimit-remaining-requests" in headers or "x-ratelimit-remaining-tokens" in headers:
            for kind in ("requests", "tokens"):
                if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0":
                    self.pause(seconds_in(headers.get(f"x-ratelimit-reset-{kind}", "")) or 1.0)

    def refused(self, entered: float, headers: Mapping[str, str], seconds: float) -> None:
        """A refusal of a request that had `entered` then: fewer at once, and none for what the headers say."""
        if entered >= self._halved_at:
            self.width, self._careful, self._halved_at = max(1.0, self.width / 2), True, time.monotonic()
        self.pause(retry_after(headers) or seconds)

    def pause(self, seconds: float) -> None:
        self.resume_at = max(self.resume_at, time.monotonic() + min(seconds, MAX_PAUSE_SECONDS))

    def open(self) -> None:
        """Let everybody in: nothing is asked any more."""
        self.width, self.most, self.resume_at = 1e9, 10**9, 0.0
        self._wake()

    def _wake(self) -> None:
        if time.monotonic() < self.resume_at:
            return self._wake_later()
        room = int(self.width) - self.in_flight
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
    """The seconds that an endpoint asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        given = headers.get(name, "").strip()
        try:
            return max(0.0, float(given) * unit)
        except ValueError:
            if given and (date := email.utils.parsedate_tz(given)):
                return max(0.0, email.utils.mktime_tz(date) - time.time())
    return None


def seconds_in(text: str) -> float:
    """A duration as rate-limit headers write it, in seconds: `20ms`, `1s`, `6m0s`, `2`; 0 for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text.strip())
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else 0.0
