"""Pairs of texts, judged by a language model in both orders, by each criterion."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer
from tqdm import tqdm

from qurating import clients, judging, simulated_judge
from qurating.artifacts import StageError, read_json, seed_for, write_json, write_table
from qurating.pairs import Pairs, draw_pairs
from qurating.prompts import Prompt

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Settings:
    """The group `judge` of the configuration (conf/judge/*.yaml say what each setting means)."""

    name: str
    model: str
    num_pairs: int
    max_snippet_tokens: int
    prompt: str
    prompt_sha256: str  # so that another text of the prompt is another identity of the judgments
    method: str
    base_url: str | None = None
    simulated: bool = False
    api_key_variable: str | None = None
    num_votes: int = 20
    temperature: float = 1.0
    request_options: Mapping[str, Any] = field(default_factory=dict)
    min_words: int = 20
    max_concurrency: int = 32
    timeout_seconds: float = 60.0
    max_retries: int = 5
    positional_bias: float = 0.0
    noise: float = 0.0

    def body(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        """One chat completion of one token, in the manner of the method."""
        how: dict[str, Any] = {"temperature": self.temperature, "max_tokens": 1}
        how |= {"logprobs": True, "top_logprobs": 20} if self.method == "logprobs" else {"n": self.num_votes}
        how |= self.request_options
        return {"model": self.model, "messages": messages, **{key: how[key] for key in how if how[key] is not None}}

    def weights(self, reply: Any) -> list[float]:
        if self.method == "logprobs":
            return list(judging.weights_from_logprobs(reply))
        return list(judging.weights_from_votes(reply, self.num_votes))


def judge(
    *, output: Path, corpus: Path, criteria: Mapping[str, Mapping[str, Any]], judge: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Judge `num_pairs` pairs of training sequences by every criterion, and write judgments.parquet and summary.json.

    `criteria`: name -> {name, question, description, simulated_weights}. `judge`: see Settings. Every pair takes
    2 × len(criteria) calls. Sequences of fewer than `min_words` words are passed over: they cannot be judged.
    Rows of judgments.parquet are in the order in which the pairs were drawn, whatever the order of the answers;
    a request that fails for good leaves -100 in its place and is counted, by reason, in the summary.

    Raises StageError for settings that cannot work, a corpus of fewer than two sequences that can be judged, and an
    endpoint that cannot be used; then a journal of the answers so far stays in `output`: the next run goes on from it.
    """
    settings = _settings(judge)
    _check_criteria(criteria, settings.simulated)
    summary_file, journal_file = output / "summary.json", output / "journal.jsonl"
    if summary_file.is_file():  # killed after the last write: all is there
        journal_file.unlink(missing_ok=True)
        return _counts(read_json(summary_file))
    try:
        prompt = Prompt(ROOT / settings.prompt)
    except (OSError, ValueError) as error:
        raise StageError(f"judge.prompt={settings.prompt}: {error}") from None

    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(_endpoint(settings, criteria, seed))
        endpoint.api_key()  # missing: said before any work
        tokenizer = _tokenizer(corpus)
        pairs = draw_pairs(
            corpus / "train", tokenizer, settings.num_pairs, settings.min_words, settings.max_snippet_tokens, seed
        )
        shape = (len(pairs.first), len(criteria), 2)  # pairs, criteria, orders; text 0 is A in order 0
        weights = np.full((*shape, 2), np.nan)
        failures: dict[int, clients.Answer] = {}
        progress = stack.enter_context(
            tqdm(total=int(np.prod(shape)), desc=f"asking {settings.name}", unit="call", mininterval=0.5)
        )

        def record(position: int, answer: clients.Answer) -> None:
            progress.update()
            if answer.values is None:
                failures[position] = answer
            else:
                weights[np.unravel_index(position, shape)] = answer.values

        journal = stack.enter_context(contextlib.closing(clients.Journal(journal_file)))
        requests = _requests(pairs, criteria, prompt, settings)
        asyncio.run(clients.ask_all(endpoint, requests, journal, settings.weights, record))

    write_table(output / "judgments.parquet", _table(pairs, criteria, weights, settings))
    summary = {
        "judge": settings.name,
        "model": settings.model,
        "simulated": settings.simulated,
        "method": settings.method,
        "num_votes": settings.num_votes if settings.method == "votes" else None,
        "num_pairs": shape[0],
        "num_texts": len(pairs.ids),
        "num_sequences_too_short": pairs.num_too_short,
        "num_requests": int(np.prod(shape)),
        "failed": _by_reason(failures),
        "criteria": {name: judging.agreement(weights[:, index]) for index, name in enumerate(criteria)},
    }
    write_json(summary_file, summary)
    journal_file.unlink()  # last: until the summary is there, it alone holds what was paid for
    return _counts(summary)


def _settings(given: Mapping[str, Any]) -> Settings:
    known = {entry.name for entry in fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise StageError(f"judge has no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    try:
        settings = Settings(**given)
    except TypeError as error:
        raise StageError(f"conf/judge/{given.get('name', '<judge>')}.yaml: {error}") from None
    if settings.method not in ("logprobs", "votes"):
        raise StageError(f"judge.method is {settings.method!r}: it can be logprobs or votes")
    for name in ("num_pairs", "max_snippet_tokens", "num_votes", "max_concurrency"):
        if getattr(settings, name) < 1:
            raise StageError(f"judge.{name} is {getattr(settings, name)}: it must be at least 1")
    if not settings.simulated and not settings.base_url:
        raise StageError("judge.base_url is not set: give the endpoint's address, such as http://localhost:8000/v1")
    return settings


def _check_criteria(criteria: Mapping[str, Mapping[str, Any]], simulated: bool) -> None:
    if not criteria:
        raise StageError("no criterion to judge by: name at least one of conf/criterion/")
    for name, criterion in criteria.items():
        for key in ("name", "question", "description", *(["simulated_weights"] if simulated else [])):
            if not criterion.get(key):
                why = ", which the simulated judge needs (or take a real one: judge=endpoint)" if "sim" in key else ""
                raise StageError(f"conf/criterion/{name}.yaml: `{key}` is missing{why}")
        if criterion["name"] != name:
            raise StageError(f"conf/criterion/{name}.yaml: `name` is {criterion['name']!r}; it must be {name!r}")
    questions = [criterion["question"] for criterion in criteria.values()]
    contained = simulated and any(a != b and a in b for a in questions for b in questions)
    if contained or len(set(questions)) < len(questions):
        raise StageError("two criteria ask the same question: change `question` in one of their files")


@contextlib.contextmanager
def _endpoint(settings: Settings, criteria: Mapping[str, Mapping[str, Any]], seed: int) -> Iterator[clients.Endpoint]:
    """The endpoint to ask; for the simulated judge, a server that runs as long as the block."""
    limits = (settings.max_concurrency, settings.timeout_seconds, settings.max_retries)
    if not settings.simulated:
        yield clients.Endpoint(str(settings.base_url), settings.model, settings.api_key_variable, *limits)
        return
    server = simulated_judge.Settings(
        {criterion["question"]: dict(criterion["simulated_weights"]) for criterion in criteria.values()},
        settings.noise,
        settings.positional_bias,
        seed_for(seed, "judge", "simulated"),
    )
    try:
        with simulated_judge.serving(server) as base_url:
            yield clients.Endpoint(base_url, settings.model, None, *limits, loopback=True)
    except simulated_judge.SettingsError as error:
        raise StageError(f"simulated_weights of a criterion: {error}") from None


def _tokenizer(corpus: Path) -> Tokenizer:
    file = corpus / "tokenizer" / "tokenizer.json"
    if not file.is_file():
        raise StageError(f"{file} is not there: snippets need a fast tokenizer, with its tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))  # not by transformers, whose import takes longer than the judging
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _requests(
    pairs: Pairs, criteria: Mapping[str, Mapping[str, Any]], prompt: Prompt, settings: Settings
) -> Iterator[clients.Request]:
    """Every request in the order of its position: pairs, then criteria, then the two orders."""
    position = 0
    for zero, one in zip(pairs.first, pairs.second, strict=True):
        for criterion in criteria.values():
            for a, b in ((zero, one), (one, zero)):
                messages = prompt.messages(criterion, pairs.texts[a], pairs.texts[b])
                yield clients.Request(position, settings.body(messages))
                position += 1


def _table(pairs: Pairs, criteria: Mapping[str, Any], weights: judging.Floats, settings: Settings) -> pa.Table:
    places = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    columns: dict[str, Any] = {
        "texts": pa.array([[pairs.texts[i], pairs.texts[j]] for i, j in places], pa.list_(pa.string())),
        "indices": pa.array([[pairs.ids[i], pairs.ids[j]] for i, j in places], pa.list_(pa.int64())),
        "domains": pa.array([[pairs.domains[i], pairs.domains[j]] for i, j in places], pa.list_(pa.string())),
        "method": pa.array([settings.method] * len(places)),
    }
    for index, name in enumerate(criteria):
        for kind, matrix in judging.pair_matrices(weights[:, index]).items():
            columns[f"{name}_{kind}"] = pa.array(matrix.tolist(), pa.list_(pa.list_(pa.float64())))
    return pa.table(columns)


def _by_reason(failures: Mapping[int, clients.Answer]) -> dict[str, dict[str, Any]]:
    """Failed requests by reason, each with the first one's detail."""
    found: dict[str, dict[str, Any]] = {}
    for _, answer in sorted(failures.items()):
        found.setdefault(answer.reason, {"num_requests": 0, "example": answer.detail})["num_requests"] += 1
    return found


def _counts(summary: Mapping[str, Any]) -> dict[str, Any]:
    failed = {reason: found["num_requests"] for reason, found in summary["failed"].items()}
    return {
        "pairs": summary["num_pairs"],
        "texts": summary["num_texts"],
        "sequences_too_short": summary["num_sequences_too_short"],
        "requests": summary["num_requests"],
        "failed_requests": sum(failed.values()),
        **({"failed_by_reason": failed} if failed else {}),
        "labels": ["simulated judge"] if summary["simulated"] else [],
    }
