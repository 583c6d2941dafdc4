"""A language model judges pairs of texts in both orders, or grades texts, by each criterion."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from qurating.artifacts.files import read_json, write_json
from qurating.artifacts.seeds import seed_for
from qurating.corpus.files import in_repository
from qurating.judging import summary as judging_summary
from qurating.judging import tables
from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Endpoint, Request
from qurating.judging.endpoint.batch_files import Limits
from qurating.judging.endpoint.batch_log import BatchLog
from qurating.judging.endpoint.batches import Batches
from qurating.judging.endpoint.client import Client, open_client
from qurating.judging.endpoint.costs import Estimate, Price, Spending
from qurating.judging.endpoint.response_log import Answer, ResponseLog
from qurating.judging.endpoint.retries import UnansweredError, down_error
from qurating.judging.pairs import draw_pairs, read_ranking, with_ranked
from qurating.judging.requests import Requests, find_method
from qurating.judging.servers import local, simulated
from qurating.judging.settings import JudgeSettings, check_criteria
from qurating.reports import judge as reports_judge
from qurating.runtime.errors import StageError

WORKING_FILES = ("journal.jsonl", "method.json", "batches.jsonl", "total.json")  # removed after the summary is written


def judge(
    *,
    output: Path,
    corpus: Path,
    criteria: Mapping[str, Mapping[str, Any]],
    judge: Mapping[str, Any],
    compared: Path | None,
    seed: int,
) -> dict[str, Any]:
    """Judge `num_pairs` pairs of training sequences by every criterion: judgments.parquet, summary.json, report.html.

    `criteria`: name -> {name, question, description, simulated_weights, prompt}. `judge`: see JudgeSettings. A pair
    needs 2 × len(criteria) calls, an individually graded text len(criteria); num_votes times as many if votes must be
    requested one by one. `compared`: other judgments to compare with these.
    Sequences of fewer than `min_words` words are skipped: they cannot be judged. Rows of judgments.parquet are in the
    order in which the pairs were drawn, whatever the order of the answers. A request that fails for good leaves -100 in
    its place, and failures.jsonl has its reason.

    Raises StageError for invalid settings, a corpus with fewer than two sequences that can be judged, an unusable
    endpoint, and a reached cap on costs. The response log with the answers so far then stays in `output`, and the next
    run continues from it.
    """
    settings = JudgeSettings.read(judge)
    check_criteria(criteria, settings.simulated)
    summary_file = output / "summary.json"
    if summary_file.is_file():  # killed after the last write: everything is done
        _clean(output)
        return _counts(read_json(summary_file))
    prompts, price = settings.read_prompts(criteria), settings.price(batch=settings.transport == "batch")
    ranking = read_ranking(in_repository(settings.ranking), list(criteria)) if settings.ranking else None

    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(_endpoint(settings, criteria, seed))
        endpoint.api_key()  # reports a missing key before any work
        tokenizer = _tokenizer(corpus)
        pairs = draw_pairs(
            corpus / "train",
            tokenizer,
            settings.num_pairs,
            settings.min_words,
            settings.max_snippet_tokens,
            seed,
            settings.triple_fraction,
        )
        if ranking:
            pairs = with_ranked(pairs, ranking, tokenizer, settings.max_snippet_tokens, seed)

        def as_method(method: str) -> Requests:
            return Requests(settings, criteria, prompts, pairs, method)

        response_log = ResponseLog(output / "journal.jsonl", remember=settings.transport == "batch")
        stack.enter_context(contextlib.closing(response_log))
        if response_log.num_dropped:
            print(
                f"    {response_log.num_dropped} lines of the log of responses are incomplete or were changed: their "
                "requests are sent again, and what they cost is no longer counted",
                flush=True,
            )
        requests, costs = asyncio.run(_ask(settings, endpoint, response_log, price, as_method, tokenizer, output))

    preferred = tables.preferred(requests, pairs)
    tables.write(output, pairs, criteria, requests, preferred, settings)
    summary = {
        "judge": settings.name,
        "model": settings.model,
        "simulated": settings.simulated,
        "mode": settings.mode,
        "method": requests.method,
        "num_votes": None if requests.method == "logprobs" else settings.num_votes,
        "num_pairs": settings.num_pairs,
        "num_texts": len(pairs.ids) - (len(ranking.texts) if ranking else 0),
        "num_sequences_too_short": pairs.num_too_short,
        "num_requests": requests.num_calls,
        "failed": _by_reason(requests.failures),
        "cost": costs,
        "criteria": judging_summary.measures(list(criteria), pairs, preferred, requests, ranking, settings.num_pairs),
    }
    if compared is not None:
        summary["compared"] = judging_summary.compare(list(criteria), pairs, preferred, compared, settings.num_pairs)
    reports_judge.write(output, summary, list(criteria), pairs, preferred, requests, settings.num_pairs)
    write_json(summary_file, summary)
    _clean(output)  # last: until the summary is written, only the response log holds the paid answers
    return _counts(summary)


async def _ask(
    settings: JudgeSettings,
    endpoint: Endpoint,
    response_log: ResponseLog,
    price: Price | None,
    as_method: Callable[[str], Requests],
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
    method = settings.method
    with contextlib.suppress(FileNotFoundError):
        method = read_json(output / "method.json")["method"]
    assumed = method if method != "auto" else "logprobs" if settings.mode == "pairwise" else "votes"
    estimate = as_method(assumed).estimate(tokenizer, price)
    _print_estimate(settings, price, estimate, spending, method, len(response_log))
    async with open_client(endpoint, response_log, spending) as client:
        if method == "auto":
            method = await _probe(settings, client, as_method)
            write_json(output / "method.json", {"method": method})
            if method != assumed:
                estimate = as_method(method).estimate(tokenizer, price)
                print(f"    the endpoint gives no log-probabilities: {method}; estimate: {estimate}", flush=True)
        requests = as_method(method)
        total = requests.num_calls
        write_json(output / "total.json", total)  # for `python -m qurating.status`
        with tqdm(total=total, desc=f"requests to {settings.name}", unit="call", mininterval=0.5) as progress:

            def record(position: int, answer: Answer) -> None:
                requests.record(position, answer)
                if progress.update() and settings.transport == "online":  # the bar was redrawn
                    progress.set_postfix_str(_outlook(spending, progress.n, total), refresh=False)

            if settings.transport == "batch":
                limits = Limits(settings.max_batch_requests, settings.max_batch_bytes, settings.poll_seconds)
                batch_log, say = BatchLog(output / "batches.jsonl"), lambda message: progress.write(f"    {message}")
                batches = Batches(endpoint, response_log, spending, batch_log, limits, say)
                await batches.ask_all(requests.all, requests.parse, record)
            else:
                await client.ask_all(requests.all(), requests.parse, record)
            progress.set_postfix_str(f"{spending} spent" if spending.usd else "")
    actual = Estimate(total, spending.prompt_tokens, spending.completion_tokens, spending.usd)
    if settings.where == "remote":
        print(f"    actual: {actual} (estimate: {estimate})".replace("at most ", "", 1), flush=True)
    return requests, {
        "price": price._asdict() if price else None,
        "actual": actual._asdict(),
        "estimate": estimate._asdict(),
    }


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


async def _probe(settings: JudgeSettings, client: Client, as_method: Callable[[str], Requests]) -> str:
    """Find the method; the replies are logged, as answers if they are answers, else as lost tokens."""

    used = (0, 0)

    async def reply(body: Mapping[str, Any]) -> Any:
        nonlocal used
        client.response_log.add_lost(*used)  # of the previous reply
        try:
            found, tokens = await client.calls.reply(Request(0, body))
        except UnansweredError as error:
            raise down_error(client.calls.endpoint, error) from None
        used = tokens[0] or 0, tokens[1] or 0
        return found

    method, found = await find_method(settings, as_method, reply)
    requests = as_method(method)
    first: Request = next(requests.all())
    try:
        client.response_log.add(first.key(), Answer(requests.parse(found), "", "", *used), remember=True)
    except replies.AnswerError:
        client.response_log.add_lost(*used)
    return method


def _outlook(spending: Spending, done: int, total: int) -> str:
    """Dollars spent, and the expected cost of the rest at this rate."""
    if not spending.usd:
        return ""
    return f"{spending} spent, ${spending.usd / max(done, 1) * (total - done):,.2f} to go"


@contextlib.contextmanager
def _endpoint(settings: JudgeSettings, criteria: Mapping[str, Mapping[str, Any]], seed: int) -> Iterator[Endpoint]:
    """The endpoint of the judge; the simulated and the local judge run their server during the block."""

    def at(base_url: str, **others: Any) -> Endpoint:
        return Endpoint(
            base_url=base_url,
            model=settings.model,
            max_concurrency=settings.max_concurrency,
            timeout_seconds=settings.timeout_seconds,
            max_retries=settings.max_retries,
            patience_seconds=settings.patience_seconds,
            **others,
        )

    if settings.where == "remote":
        yield at(
            str(settings.base_url).rstrip("/"),
            api_key_variable=settings.api_key_variable,
            api=settings.api,
            api_version=settings.api_version,
        )
        return
    if settings.gguf is not None:
        gguf = Path(settings.gguf).expanduser()
        with local.serving(gguf, settings.context_tokens, settings.max_concurrency, settings.num_threads) as url:
            yield at(url, loopback=True)
        return
    server = simulated.Settings(
        {criterion["question"]: dict(criterion["simulated_weights"]) for criterion in criteria.values()},
        settings.noise,
        settings.positional_bias,
        seed_for(seed, "judge", "simulated"),
    )
    try:
        with simulated.serving(server) as base_url:
            yield at(base_url, loopback=True)
    except simulated.SettingsError as error:
        raise StageError(f"simulated_weights of a criterion: {error}") from None


def _tokenizer(corpus: Path) -> Tokenizer:
    file = corpus / "tokenizer" / "tokenizer.json"
    if not file.is_file():
        raise StageError(f"{file} does not exist: snippets need a fast tokenizer, with its tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))  # not with transformers: its import takes longer than the judging
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _by_reason(failures: Mapping[int, Answer]) -> dict[str, dict[str, Any]]:
    """Failed requests by reason, with the detail of the first one."""
    found: dict[str, dict[str, Any]] = {}
    for _, answer in sorted(failures.items()):
        found.setdefault(answer.reason, {"num_requests": 0, "example": answer.detail})["num_requests"] += 1
    return found


def _clean(output: Path) -> None:
    for name in WORKING_FILES:
        (output / name).unlink(missing_ok=True)


def _counts(summary: Mapping[str, Any]) -> dict[str, Any]:
    failed = {reason: found["num_requests"] for reason, found in summary["failed"].items()}
    usd = summary["cost"]["actual"]["usd"]
    return {
        "pairs": summary["num_pairs"],
        "texts": summary["num_texts"],
        "sequences_too_short": summary["num_sequences_too_short"],
        "requests": summary["num_requests"],
        "failed_requests": sum(failed.values()),
        **({"failed_by_reason": failed} if failed else {}),
        **({} if usd is None else {"usd": usd}),
        "labels": ["simulated judge"] if summary["simulated"] else [],
    }
