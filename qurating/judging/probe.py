"""Finds the method that an endpoint supports, and how many log-probabilities or choices, by a few questions."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Endpoint, Request, UncertainStopError
from qurating.judging.endpoint.replies import AnswerError, ParameterError
from qurating.judging.endpoint.retries import UnansweredError, down_error
from qurating.judging.requests import Method, Requests
from qurating.judging.settings import JudgeSettings
from qurating.runtime.errors import StageError

NUM_QUESTIONS = 3  # of different pairs: one alone may be filtered
FEWEST_LOGPROBS = 2

Reply = Callable[[Requests, Request], Awaitable[Any]]


async def find_method(
    settings: JudgeSettings, endpoint: Endpoint, as_method: Callable[[Method], Requests], reply: Reply
) -> Method:
    """The method that an endpoint supports: log-probabilities, else several votes per call, else one vote per call.

    Each is tried with up to three questions, until one says whether it works. If the endpoint gives fewer
    log-probabilities or choices than asked for, the largest number that it gives is found.

    `reply(requests, request)`: sends a request and returns the decoded reply; raises as `Calls.reply`. Raises
    StageError if every method is refused.
    """
    tried: list[tuple[str, Exception]] = []
    for name in settings.methods:
        method: Method | None = Method(name)
        while method is not None:
            found = await _try(as_method(method), method, endpoint, reply)
            if isinstance(found, Method):
                return found
            tried.append((name, found))
            method = _smaller(method, found, settings.num_votes)
    last = tried[-1][1]
    if isinstance(last, UnansweredError):
        raise down_error(endpoint, last)
    if isinstance(last, UncertainStopError):
        raise last
    said = "\n    ".join(f"{name}: {error}" for name, error in tried)
    advice = "judge.request_options adds options to a request, and null removes one"
    if not settings.thinks and re.search(r"max_completion_tokens|reasoning", said):
        advice += (
            ". For a model that thinks before it answers there is judge=openai_reasoning; for another that knows the "
            "limit by its newer name, judge.token_limit=max_completion_tokens"
        )
    raise endpoint.stop_error(f"refuses every method:\n    {said}\n  {advice}")


def thinks_unasked(requests: Requests, reply: Mapping[str, Any]) -> str | None:
    """What is wrong if a judge thinks before it answers and has no room for that; None if its votes can be read."""
    if requests.settings.thinks or requests.method == "logprobs" or not replies.shows_thought(reply):
        return None
    try:
        requests.parse(reply)
    except AnswerError as error:
        return (
            f"thinks before it answers ({error}). judge.max_thinking_tokens=4096 gives the thought room and reads the "
            "label after it; with options in judge.request_options some servers do without a thought"
        )
    return None


async def _try(requests: Requests, method: Method, endpoint: Endpoint, reply: Reply) -> Method | Exception:
    """The method as it works, or why it does not."""
    num_votes = requests.settings.num_votes
    failure: Exception = AnswerError("no question was answered")
    for request in requests.questions(NUM_QUESTIONS):
        try:
            found = await reply(requests, request)
            num_choices = replies.num_choices(found)
            if why := thinks_unasked(requests, found):
                raise endpoint.stop_error(why)
        except ParameterError as error:
            return error
        except (AnswerError, UncertainStopError) as error:  # of this question, it seems
            failure = error
            continue
        except UnansweredError as error:
            if error.refusal is None or error.refusal.status != 500:  # it is down
                raise
            return error
        if method.name == "votes" and num_choices < method.choices(num_votes):
            fewer = divisor(num_votes, num_choices)
            return method._replace(votes_per_call=fewer) if fewer > 1 else AnswerError("the reply has one choice")
        if method.name != "logprobs" or replies.has_logprobs(found):
            return method
        failure = AnswerError("the endpoint gives no log-probabilities")
    return failure


def _smaller(method: Method, error: Exception, num_votes: int) -> Method | None:
    """The method with fewer log-probabilities or choices, if the words of the endpoint are about their number."""
    words = str(error)
    if not isinstance(error, ParameterError):
        return None
    if method.name == "logprobs":
        number = _limit_in(words, method.top_logprobs) or ("top_logprobs" in words and method.top_logprobs // 2)
        return method._replace(top_logprobs=number) if number and number >= FEWEST_LOGPROBS else None
    if method.name == "votes":
        most = method.choices(num_votes)
        fewer = divisor(num_votes, _limit_in(words, most) or (most // 2 if _TOO_MANY.search(words) else 1))
        return method._replace(votes_per_call=fewer) if fewer > 1 else None
    return None


_TOO_MANY = re.compile(r"too (large|many|high|big)|at most|maximum|less than|exceed|greater than", re.IGNORECASE)


def _limit_in(words: str, below: int) -> int | None:
    """The largest number in an error that is below the one asked for, and above 1."""
    numbers = [int(number) for number in re.findall(r"(?<![\w.-])\d{1,3}(?![\w-]|\.\d)", words)]
    return max((number for number in numbers if 1 < number < below), default=None)


def divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most `most`, and at least 1."""
    return next((k for k in range(min(number, most), 1, -1) if number % k == 0), 1)


def multiplies(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether an estimate is of many more calls, or of much more money (or tokens, without a price), than another."""
    if after["num_calls"] > before["num_calls"]:
        return True
    if before["usd"] and after["usd"]:
        return bool(after["usd"] > 1.5 * before["usd"])
    tokens = [each["prompt_tokens"] + each["completion_tokens"] for each in (before, after)]
    return bool(tokens[1] > 1.5 * tokens[0])


def check_cost(settings: JudgeSettings, method: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise StageError for a method that multiplies the cost, unless it was chosen, or the cap on costs covers it."""
    if settings.where != "remote" or settings.method != "auto" or not multiplies(before, after):
        return
    cap, usd = settings.max_cost_usd, after["usd"]
    if cap is not None and usd is not None and usd <= cap:
        return
    price = "" if usd is None else f", about ${usd:,.2f} instead of ${before['usd']:,.2f}"
    raise StageError(
        f"the endpoint supports only judge.method={method}, which takes {after['num_calls']:,} calls instead of "
        f"{before['num_calls']:,}{price}. Accept it by judge.method={method}, or by a judge.max_cost_usd that covers "
        "it; a lower judge.num_votes or judge.num_pairs makes it cheaper"
    )
