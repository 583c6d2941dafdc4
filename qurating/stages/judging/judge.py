"""A language model judges pairs of texts in both orders, or grades texts, by each criterion."""

import asyncio
import contextlib
import os
import secrets
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from qurating.artifacts.by_domain import shortened
from qurating.artifacts.files import read_json, write_json
from qurating.artifacts.seeds import seed_for
from qurating.judging import findings, labels, tables
from qurating.judging import summary as judging_summary
from qurating.judging.asking import TRAFFIC, answered_by, ask
from qurating.judging.earlier_replies import EarlierReplies
from qurating.judging.endpoint.base import Endpoint
from qurating.judging.endpoint.failures import too_many_failed
from qurating.judging.endpoint.response_log import Answer, ResponseLog
from qurating.judging.pairs import by_domain, draw_pairs, read_ranking, with_ranked
from qurating.judging.requests import Method, Requests
from qurating.judging.servers import local, simulated
from qurating.judging.settings import JudgeSettings, check_criteria
from qurating.reports import judge as reports_judge
from qurating.runtime.errors import StageError
from qurating.runtime.masking import without_password
from qurating.runtime.signals import sigterm_as_ctrl_c

JOURNAL, METHOD, COSTS = "journal.jsonl", "method.json", "costs.json"
WORKING_FILES = (JOURNAL, METHOD, TRAFFIC, "batches.jsonl", "total.json")  # removed after the summary is written


def judge(
    *,
    output: Path,
    corpus: Path,
    criteria: Mapping[str, Mapping[str, Any]],
    judge: Mapping[str, Any],
    compared: Path | None,
    seed: int,
    responses: str,
) -> dict[str, Any]:
    """Judge `num_pairs` pairs of training sequences by every criterion: judgments.parquet, summary.json, report.html.

    `costs.json` has the price, the estimate, and what this run asked, found again and paid. It and the page do not
    count in the fingerprint, since other runs for the same judgments pay something else.

    `criteria`: name -> {name, question, description, simulated_weights, prompt}. `judge`: see JudgeSettings. A pair
    needs 2 × len(criteria) calls, an individually graded text len(criteria); num_votes times as many if votes must be
    requested one by one. `compared`: other judgments to compare with these.
    Sequences of fewer than `min_tokens` tokens are left out and counted by domain: they cannot be judged. Rows of
    judgments.parquet are in the order in which the pairs were drawn, whatever the order of the answers. A request that
    fails for good leaves -100 in its place, and failures.jsonl has its reason.

    `responses`: the folder of all response logs. Answers to the same requests of the same endpoint are found again
    there, whatever they were asked for; this run adds a log of its own, which outlives the judgments. The simulated
    judge has its log in `output`.

    Raises StageError for invalid settings, a corpus with fewer than two sequences that can be judged, an unusable
    endpoint, a reached cap on costs, and more failed judgments than `max_failed_fraction`. The response log with the
    answers so far then stays in `output`, and the next run continues from it.
    """
    settings = JudgeSettings.read(judge)
    check_criteria(criteria, settings.simulated)
    summary_file = output / "summary.json"
    if summary_file.is_file() and (output / COSTS).is_file():  # killed after the last write: everything is done
        _clean(output)
        return _counts(read_json(summary_file), read_json(output / COSTS))
    prompts, price = settings.read_prompts(criteria), settings.price(batch=settings.transport == "batch")
    ranking = read_ranking(settings.ranking, list(criteria)) if settings.ranking else None

    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(_endpoint(settings, criteria, seed))
        endpoint.api_key()  # reports a missing key before any work
        tokenizer = _tokenizer(corpus)
        pairs = draw_pairs(
            corpus / "train",
            tokenizer,
            settings.num_pairs,
            settings.min_tokens,
            settings.max_snippet_tokens,
            seed,
            settings.triple_fraction,
        )
        domains = by_domain(pairs)
        told = list(findings.left_out(domains, settings.min_tokens))
        for sentence in told:
            print(f"    warning: {sentence}", flush=True)
        if ranking:
            pairs = with_ranked(pairs, ranking, tokenizer, settings.max_snippet_tokens, seed)

        def as_method(method: Method) -> Requests:
            return Requests(settings, criteria, prompts, pairs, method)

        response_log = _response_log(stack, settings, endpoint, output, Path(responses))
        with sigterm_as_ctrl_c():  # calls in flight are waited for: they are paid for
            requests, costs = asyncio.run(ask(settings, endpoint, response_log, price, as_method, tokenizer, output))
        if note := labels.note(requests.failures.values(), requests.votes_without_label):
            print(f"    {note}", flush=True)
        if (failed := requests.failed_fraction) > settings.max_failed_fraction:
            response_log.forget_failures()
            raise too_many_failed(failed, settings.max_failed_fraction, list(requests.failures.values()))

    # a file of its own, and no part of the summary: another run for the same judgments finds other answers again
    costs |= judging_summary.extrapolated(costs["actual"], requests.num_calls, len(pairs.first))
    preferred = tables.preferred(requests, pairs)
    tables.write(output, pairs, criteria, requests, preferred, settings)
    summary: dict[str, Any] = {
        "judge": settings.name,
        "model": settings.model,
        "simulated": settings.simulated,
        "mode": settings.mode,
        "method": requests.method,
        "endpoint": _described(settings, endpoint),
        "temperature": requests.body([]).get("temperature"),
        "num_votes": None if requests.method == "logprobs" else settings.num_votes,
        "votes_without_label": requests.votes_without_label,
        "num_pairs": settings.num_pairs,
        "num_texts": len(pairs.ids) - (len(ranking.texts) if ranking else 0),
        "num_sequences_too_short": sum(pairs.too_short.values()),
        "min_tokens": settings.min_tokens,
        "domains": domains,
        "by_domain": judging_summary.by_domain(list(criteria), pairs, preferred, requests, domains, settings.num_pairs),
        "num_requests": requests.num_calls,
        "failed": _by_reason(requests.failures),
        "failed_fraction": requests.failed_fraction,
        **({} if settings.simulated else {"models": answered_by(response_log)}),
        "criteria": judging_summary.measures(list(criteria), pairs, preferred, requests, ranking, settings.num_pairs),
    }
    if compared is not None:
        summary["compared"] = judging_summary.compare(list(criteria), pairs, preferred, compared, settings.num_pairs)
    summary["findings"] = findings.of_summary(summary)
    for sentence in summary["findings"]:
        if sentence not in told:
            print(f"    warning: {sentence}", flush=True)
    shown = {**summary, "cost": costs}
    reports_judge.write(output, shown, list(criteria), pairs, preferred, requests, settings.num_pairs)
    write_json(output / COSTS, costs)
    write_json(summary_file, summary)
    _clean(output)  # last: until the summary is written, only the response log holds the paid answers
    return _counts(summary, costs)


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
            yield at(url, loopback=True, answers_as=local.identity(gguf))
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


def _described(settings: JudgeSettings, endpoint: Endpoint) -> dict[str, str]:
    """The kind of endpoint, and the address of a remote one without what may be secret in it."""
    address = urllib.parse.urlsplit(without_password(endpoint.base_url))._replace(query="", fragment="").geturl()
    shown = endpoint.redacted(address) if settings.where == "remote" else "on this machine"
    return {"kind": settings.where, "address": shown, "api": settings.api}


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


def _response_log(
    stack: contextlib.ExitStack, settings: JudgeSettings, endpoint: Endpoint, output: Path, responses: Path
) -> ResponseLog:
    """The log of this run, in which those of earlier runs are looked up."""
    path, earlier = output / JOURNAL, None
    if not settings.simulated:
        path = _own_log(output, responses)
        if settings.reuse_answers:
            earlier = stack.enter_context(contextlib.closing(EarlierReplies(responses, without=path)))
    found = ResponseLog(path, settings.transport == "batch", endpoint.identity, earlier)
    stack.enter_context(contextlib.closing(found))
    num_dropped = found.num_dropped + (earlier.num_dropped if earlier else 0)
    if num_dropped:
        print(
            f"    {num_dropped} lines of the response logs are incomplete or were changed: their requests are sent "
            "again, and what they cost is no longer counted",
            flush=True,
        )
    return found


def _own_log(output: Path, responses: Path) -> Path:
    """The response log of a working folder: `journal.jsonl` there is a link to it."""
    journal = output / JOURNAL
    if journal.is_file() and not journal.is_symlink():
        print("    answers of an earlier version are not used: pairs are drawn in another way since", flush=True)
        journal.unlink()
    if not journal.is_symlink():
        name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}-{secrets.token_hex(4)}.jsonl"
        journal.symlink_to(os.path.relpath(responses.resolve() / name, output.resolve()))
    path = journal.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _clean(output: Path) -> None:
    log = (output / JOURNAL).resolve()
    if log.is_file() and not log.stat().st_size:  # every answer was found again
        log.unlink()
    for name in WORKING_FILES:
        (output / name).unlink(missing_ok=True)


def _counts(summary: Mapping[str, Any], costs: Mapping[str, Any]) -> dict[str, Any]:
    failed = {reason: found["num_requests"] for reason, found in summary["failed"].items()}
    usd = costs["actual"]["usd"]
    too_short = {name: found["too_short"] for name, found in summary["domains"].items() if found["too_short"]}
    return {
        "pairs": summary["num_pairs"],
        "texts": summary["num_texts"],
        "sequences_too_short": summary["num_sequences_too_short"],
        **({"too_short_by_domain": shortened(too_short)} if too_short else {}),
        "requests": summary["num_requests"],
        **({} if summary["simulated"] else {"found_again": costs["found_again"]}),
        "failed_requests": sum(failed.values()),
        **({"failed_by_reason": failed} if failed else {}),
        **({} if usd is None else {"usd": usd}),
        "labels": ["simulated judge"] if summary["simulated"] else [],
        "records": [COSTS, "report.html"],
    }
