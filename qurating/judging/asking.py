"""Asks the requests of a run: the estimate before the first call, the method, the answers, and what they cost."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from qurating.artifacts.files import read_json, write_json
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

TRAFFIC = "traffic.json"  # calls besides the answers, until the end of the run
PROBE_RETRIES = 2  # of a question that may be refused whatever method it asks for


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
    assumed = Method("logprobs" if settings.mode == "pairwise" else "votes")
    first = as_method(method if settings.method != "auto" else assumed).estimate(tokenizer, price)
    _print_estimate(settings, price, first, spending, method.name, len(response_log))
    async with open_client(endpoint, response_log, spending) as client, _counted(client, output / TRAFFIC):
        if method.name == "auto":
            method = await _probe(settings, client, as_method)
            write_json(output / "method.json", _as_json(method))
        estimate = as_method(method).estimate(tokenizer, price)
        if settings.method == "auto" and method.name != assumed.name:
            print(f"    the endpoint gives no log-probabilities: {method.name}; estimate: {estimate}", flush=True)
            check_cost(settings, method.name, first._asdict(), estimate._asdict())
        requests = as_method(method)
        total = requests.num_calls
        limits = FailureLimits.of(requests.calls_per_unit, settings.max_failed_fraction)
        write_json(output / "total.json", total)  # for `python -m qurating.status`
        with tqdm(total=total, desc=f"requests to {settings.name}", unit="call", mininterval=0.5) as progress:

            def record(position: int, answer: Answer) -> None:
                requests.record(position, answer)
                if progress.update() and settings.transport == "online":  # the bar was redrawn
                    progress.set_postfix_str(_outlook(spending, progress.n, total), refresh=False)

            if settings.transport == "batch":
                files = Limits(settings.max_batch_requests, settings.max_batch_bytes, settings.poll_seconds)
                batch_log, say = BatchLog(output / "batches.jsonl"), lambda message: progress.write(f"    {message}")
                batches = Batches(endpoint, response_log, spending, batch_log, files, say, limits)
                await batches.ask_all(requests.all, requests.parse, record)
            else:
                client.streak.limits = limits
                await client.ask_all(requests.all(), requests.parse, record)
            progress.set_postfix_str(f"{spending} spent" if spending.usd else "")
    actual = Estimate(total, spending.prompt_tokens, spending.completion_tokens, spending.usd)
    if settings.where == "remote":
        print(f"    actual: {actual} (estimate: {estimate})".replace("at most ", "", 1), flush=True)
    return requests, {
        "price": price._asdict() if price else None,
        "actual": actual._asdict(),
        "estimate": estimate._asdict(),
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


def _print_estimate(
    settings: JudgeSettings, price: Price | None, estimate: Estimate, spending: Spending, method: str, num_known: int
) -> None:
    if settings.where != "remote":
        return
    if price is None:
        price_note = f"the price of {settings.model} is unknown (judge.usd_per_million_tokens=[PROMPT,COMPLETION])"
    else:
        price_note = f"at ${price.prompt:g} and ${price.completion:g} per million tokens ({price.source})"
    print(f"    estimate: {estimate}; {price_note}", flush=True)
    if method == "auto" and settings.mode == "pairwise":
        print(f"      if it gives no log-probabilities: {settings.num_votes} votes per request", flush=True)
    elif method == "auto":
        print(f"      if it gives one choice per call: {settings.num_votes} times the calls", flush=True)
    if num_known:
        print(f"    already answered: {num_known:,} of these calls, {spending}", flush=True)
    cap = settings.max_cost_usd
    if cap is not None and estimate.usd is not None and estimate.usd > cap:
        print(
            f"    judge.max_cost_usd={cap:g} is less: the run stops there, and continues with a higher cap",
            flush=True,
        )


async def _probe(settings: JudgeSettings, client: Client, as_method: Callable[[Method], Requests]) -> Method:
    """Find the method; the replies are logged, as answers if they are answers, else as lost tokens."""

    async def reply(requests: Requests, request: Request) -> Any:
        client.calls.traffic["probes of the method"] += 1
        found, used = await client.calls.reply(request, PROBE_RETRIES)
        try:
            answer = Answer(requests.parse(found), "", "", *used)
        except AnswerError:
            client.response_log.add_lost(used[0] or 0, used[1] or 0)
        else:
            client.response_log.add(request.key(), answer, remember=True)
            client.usable_seen = True
        return found

    try:
        return await find_method(settings, client.calls.endpoint, as_method, reply)
    except UnansweredError as error:
        raise down_error(client.calls.endpoint, error) from None


def _as_json(method: Method) -> dict[str, Any]:
    """A method with what differs from its defaults."""
    defaults = Method(method.name)._asdict()
    return {"method": method.name} | {key: given for key, given in method._asdict().items() if given != defaults[key]}


def _outlook(spending: Spending, done: int, total: int) -> str:
    """Dollars spent, and the expected cost of the rest at this rate."""
    if not spending.usd:
        return ""
    return f"{spending} spent, ${spending.usd / max(done, 1) * (total - done):,.2f} to go"
