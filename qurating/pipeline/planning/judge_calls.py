"""Calls and dollars of a judge before there is a corpus to draw pairs from."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from qurating.judging.endpoint.costs import Estimate
from qurating.judging.pairs import Pairs
from qurating.judging.requests import Method, Requests
from qurating.judging.settings import JudgeSettings, check_criteria
from qurating.pipeline.planning.corpora import BYTES_PER_TOKEN

MEAN_SNIPPET = 0.875  # of the longest one: half of the texts are cut to it, half to between a half and all of it


class _Tokenizer:
    """Counts tokens by the bytes of a text."""

    @staticmethod
    def encode(text: str) -> SimpleNamespace:
        return SimpleNamespace(ids=range(round(len(text.encode()) / BYTES_PER_TOKEN)))


def estimate(given: Mapping[str, Any], criteria: Mapping[str, Any], snippet_tokens: float) -> tuple[Estimate, str]:
    """Calls, tokens and dollars, by the same function as before the first request, for texts of the mean length.

    Args:
        given: the group `judge` of the configuration.
        criteria: the group `criteria`.
        snippet_tokens: of a text, in the mean.

    Returns:
        the estimate; a note on what it assumes.

    Raises:
        StageError: settings that the judge refuses.
    """
    settings = JudgeSettings.read(given)
    check_criteria(criteria, settings.simulated)
    price = settings.price(batch=settings.transport == "batch")
    method = settings.methods[0] if settings.method == "auto" else settings.method
    text = ("word " * round(snippet_tokens * BYTES_PER_TOKEN / 5)).strip()
    texts = [text] * (2 * settings.num_pairs)
    first = np.arange(0, len(texts), 2)
    pairs = Pairs([], [], texts, first, first + 1, {})
    requests = Requests(settings, criteria, settings.read_prompts(criteria), pairs, Method(method))
    found = requests.estimate(_Tokenizer(), price)
    if settings.where != "remote":
        return found, ""
    notes = [f"prompts at {BYTES_PER_TOKEN:g} bytes a token"]
    if settings.reuse_answers:
        notes.append("at most: answers in the response logs cost nothing")
    notes += [f"price: {price.source}"] if price else [f"the price of {settings.model} is unknown"]
    if settings.thinks:
        notes.append(f"with all {settings.max_thinking_tokens:,} tokens of thought for each vote")
    elif settings.method == "auto" and method == "logprobs":
        notes.append(f"without log-probabilities {settings.num_votes} votes a call")
    cap = settings.max_cost_usd
    if cap is not None and found.usd is not None and found.usd > cap:
        notes.append(f"judge.max_cost_usd={cap:g} is less: the run stops there")
    return found, "; ".join(notes)
