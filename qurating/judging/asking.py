"""Asks the requests of a run: the estimate before the first call, the method, the answers, and what they cost."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from qurating.artifacts.files import read_json, write_json
from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Endpoint, Request
from qurating.judging.endpoint.batch_files import Limits
from qurating.judging.endpoint.batch_log import BatchLog
from qurating.judging.endpoint.batches import Batches
from qurating.judging.endpoint.client import Client, open_client
from qurating.judging.endpoint.costs import Estimate, Price, Spending
from qurating.judging.endpoint.failures import FailureLimits
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Answer, ResponseLog
from qurating.judging.endpoint.retries import UnansweredError, down_error
from qurating.judging.probe import check_cost, find_method
from qurating.judging.requests import Method, Requests
from qurating.judging.settings import JudgeSettings

SAMPLED_CALLS = 50_000  # of a larger run, so many are looked for in the response logs before the first call
TRAFFIC = "traffic.json"  # calls besides the answers, until the end of the run
PROBE_RETRIES = 2  # of a question that may be refused whatever method it asks for


class Known(NamedTuple):
    """Calls of a run that a response log answers, its own or one of earlier runs; `is_exact`: none was left out."""

    own: int
    earlier: int
    is_exact: bool

    @classmethod
    def of(cls, requests: Requests, response_log: ResponseLog) -> "Known":
        """Counted; in a large run among the requests about a sample of its pairs or texts."""
        if not response_log.may_answer():
            return cls(0, 0, True)
        number = max(1, SAMPLED_CALLS // requests.calls_per_unit)
        units = np.unique(np.linspace(0, requests.num_units - 1, min(requests.num_units, number)).astype(int)).tolist()
        own = earlier = 0
        for request in requests.all(units):
            key = request.key()
            if response_log.get(key, requests.parse) is not None:
                is_own = response_log.is_own(key)
                own, earlier = own + is_own, earlier + (not is_own)
        scale = requests.num_units / len(units)
        return cls(round(scale * own), round(scale * earlier), scale == 1)


async def ask(
    settings: JudgeSettings,
    endpoint: Endpoint,
    response_log: ResponseLog,
    price: Price | None,
    as_method: Callable[[Method], Requests],
    tokenizer: Tokenizer,
    output: Path,
) -> tuple[Requests, dict[str, Any]]:
    """Estimate, find the method, send the requests; returns them with their answers, and the costs."""
    spending = Spending(price, settings.max_cost_usd, response_log.prompt_tokens, response_log.completion_tokens)
    other = settings.price(batch=settings.transport != "batch")
    if price and other:  # an earlier run may have used the other transport
        totals = np.array([response_log.prompt_tokens, response_log.completion_tokens])
        elsewhere = totals - response_log.by_batch if settings.transport == "batch" else np.array(response_log.by_batch)
        spending.other_transport_usd = other.usd(*elsewhere.tolist()) - price.usd(*elsewhere.tolist())
    method = Method(settings.method)
    with contextlib.suppress(FileNotFoundError):
        found = read_json(output / "method.json")
        method = Method(found.pop("method"), **found)
    assumed = Method(settings.methods[0])
    first_method = method if settings.method != "auto" else assumed
    expected = as_method(first_method)
    first, known = expected.estimate(tokenizer, price), Known.of(expected, response_log)
    _print_estimate(settings, price, first, spending, method.name, known)
    async with open_client(endpoint, response_log, spending) as client, _counted(client, output / TRAFFIC):
        tokens: int | None = None  # of a reply
        if method.name == "auto":
            method, tokens = await _probe(settings, client, as_method)
            write_json(output / "method.json", _as_json(method))
        requests = as_method(method)
        total, before = requests.num_calls, first.share(first.num_calls - known.earlier)
        whole = requests.estimate(tokenizer, price)
        if method != first_method:
            known = Known.of(requests, response_log)
            _print_known(whole, spending, known)
        estimate = whole.share(total - known.earlier)
        if settings.thinks and tokens:
            _print_expected(price, estimate, tokens)
        if settings.method == "auto" and (method.name != assumed.name or total > first.num_calls):
            lacks = "log-probabilities" if assumed.name == "logprobs" else f"{settings.num_votes} choices in one reply"
            print(f"    the endpoint gives no {lacks}: {method.name}; estimate: {estimate}", flush=True)
            check_cost(settings, method.name, before._asdict(), estimate._asdict())
        limits = FailureLimits.of(requests.calls_per_unit, settings.max_failed_fraction)
        write_json(output / "total.json", total - known.earlier)  # for `python -m qurating.status`
        client.usable_seen = client.usable_seen or known.earlier > 0
        with tqdm(total=total, desc=f"requests to {settings.name}", unit="call", mininterval=0.5) as progress:

            def record(position: int, answer: Answer) -> None:
                requests.record(position, answer)
                if progress.update() and settings.transport == "online":  # the bar was redrawn
                    asked = progress.n - response_log.num_found_again
                    progress.set_postfix_str(_outlook(spending, asked, total - progress.n), refresh=False)

            if settings.transport == "batch":
                files = Limits(settings.max_batch_requests, settings.max_batch_bytes, settings.poll_seconds)
                batch_log, say = BatchLog(output / "batches.jsonl"), lambda message: progress.write(f"    {message}")
                batches = Batches(endpoint, response_log, spending, batch_log, files, say, limits)
                await batches.ask_all(requests.all, requests.parse, record)
            else:
                client.streak.limits = limits
                await client.ask_all(requests.all(), requests.parse, record)
            progress.set_postfix_str(f"{spending} spent" if spending.usd else "")
    found_again = response_log.num_found_again
    num_asked = requests.num_calls - found_again
    actual = Estimate(num_asked, spending.prompt_tokens, spending.completion_tokens, spending.usd)
    if settings.where == "remote":
        print(f"    actual: {actual} (estimate: {estimate})".replace("at most ", "", 1), flush=True)
    if not settings.simulated:
        models = "; ".join(
            f"{found['model'] or 'no model named'}, {found['first']} to {found['last']}"
            for found in answered_by(response_log)
        )
        print(f"    {num_asked:,} asked, {found_again:,} found again; answered by {models}", flush=True)
    return requests, {
        "price": price._asdict() if price else None,
        "actual": actual._asdict(),
        "estimate": estimate._asdict(),
        "found_again": found_again,
        "traffic": {what: number for what, number in sorted(client.calls.traffic.items()) if number},
    }


@contextlib.asynccontextmanager
async def _counted(client: Client, file: Path) -> AsyncIterator[None]:
    """Continue the counts of calls of earlier runs that were stopped; one that was killed has left none."""
    with contextlib.suppress(FileNotFoundError):
        client.calls.traffic.update(read_json(file))
    try:
        yield
    finally:
        write_json(file, dict(client.calls.traffic))


def answered_by(response_log: ResponseLog) -> list[dict[str, Any]]:
    """The models that answered, by the replies, each with the number of its answers, and the days of first and last."""
    return [
        {"model": model, "num_answers": number, "first": _day(first), "last": _day(last)}
        for model, (number, first, last) in sorted(response_log.by_model.items())
    ]


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _print_estimate(
    settings: JudgeSettings, price: Price | None, whole: Estimate, spending: Spending, method: str, known: Known
) -> None:
    if settings.where != "remote":
        return
    if price is None:
        price_note = f"the price of {settings.model} is unknown (judge.usd_per_million_tokens=[PROMPT,COMPLETION])"
    else:
        price_note = f"at ${price.prompt:g} and ${price.completion:g} per million tokens ({price.source})"
    print(f"    estimate: {whole}; {price_note}", flush=True)
    if settings.thinks:
        print(
            f"      with all {settings.max_thinking_tokens:,} tokens of thought for each vote "
            "(judge.max_thinking_tokens): most take fewer",
            flush=True,
        )
    if method == "auto" and settings.methods[0] == "logprobs":
        print(f"      if it gives no log-probabilities: {settings.num_votes} votes per request", flush=True)
    elif method == "auto":
        print(f"      if it gives one choice per call: {settings.num_votes} times the calls", flush=True)
    _print_known(whole, spending, known)
    cap, usd = settings.max_cost_usd, whole.share(whole.num_calls - known.earlier).usd
    if cap is not None and usd is not None and usd > cap:
        print(
            f"    judge.max_cost_usd={cap:g} is less: the run stops there, and continues with a higher cap",
            flush=True,
        )


def _print_known(whole: Estimate, spending: Spending, known: Known) -> None:
    about = "" if known.is_exact else "about "
    found = [f"already answered: {about}{known.own:,} of these calls, {spending}"] if known.own else []
    found += [f"found again: {about}{known.earlier:,} answers of earlier runs"] if known.earlier else []
    if found:
        rest = whole.share(whole.num_calls - known.own - known.earlier)
        print(f"    {'; '.join(found)}; to ask: {rest}", flush=True)


def _print_expected(price: Price | None, estimate: Estimate, tokens: int) -> None:
    """The costs of a run whose replies take as many tokens as the first one."""
    completion = tokens * estimate.num_calls
    usd = None if price is None else price.usd(estimate.prompt_tokens, completion)
    expected = str(estimate._replace(completion_tokens=completion, usd=usd)).replace("at most ", "")
    print(f"    the first reply took {tokens:,} tokens, thought included; at this rate: {expected}", flush=True)


async def _probe(
    settings: JudgeSettings, client: Client, as_method: Callable[[Method], Requests]
) -> tuple[Method, int | None]:
    """Find the method; returns it, and the completion tokens of a reply, if the endpoint reports them.

    The replies are logged, as answers if they are answers, else as lost tokens.
    """
    tokens: int | None = None

    async def reply(requests: Requests, request: Request) -> Any:
        nonlocal tokens
        if (known := client.response_log.reply(request.key())) is not None:
            return known
        client.calls.traffic["probes of the method"] += 1
        found, used = await client.calls.reply(request, PROBE_RETRIES)
        tokens = (replies.usage(found) or (0, None))[1]
        try:
            answer = Answer(requests.parse(found), "", "", *used)
        except AnswerError:
            client.response_log.add_lost(used[0] or 0, used[1] or 0)
        else:
            client.response_log.add(request.key(), answer, found, remember=True)
            client.usable_seen = True
        return found

    try:
        return await find_method(settings, client.calls.endpoint, as_method, reply), tokens
    except UnansweredError as error:
        raise down_error(client.calls.endpoint, error) from None


def _as_json(method: Method) -> dict[str, Any]:
    """A method with what differs from its defaults."""
    defaults = Method(method.name)._asdict()
    return {"method": method.name} | {key: given for key, given in method._asdict().items() if given != defaults[key]}


def _outlook(spending: Spending, asked: int, to_go: int) -> str:
    """Dollars spent, and the expected cost of the rest at this rate."""
    if not spending.usd:
        return ""
    return f"{spending} spent, ${spending.usd / max(asked, 1) * to_go:,.2f} to go"
