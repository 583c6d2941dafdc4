"""Costs of judging: prices, an estimate before the first call, and a cap that calls in flight cannot exceed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from qurating.runtime.errors import StageError

TOKENS_AROUND_A_MESSAGE = 16  # upper bound of its role and markers, in every chat format seen so far
LIMITS = ("max_tokens", "max_completion_tokens")  # names of the limit on the tokens of an answer
TOKENS_AROUND_AN_ANSWER = 16  # that some endpoints count besides the limit, such as the mark of its end
_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")  # gpt-4o-mini-2024-07-18 is priced as gpt-4o-mini


class CapReachedError(StageError):
    """The next call could exceed `max_cost_usd`."""


class Price(NamedTuple):
    """US dollars per million tokens, and the source of the price."""

    prompt: float
    completion: float
    source: str

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


def find_price(model: str, table: Path, given: Sequence[float] | None, batch: bool) -> Price | None:
    """The price of a model: `given` as [prompt, completion], else from the table; None if unknown.

    Raises StageError if the table or the given price cannot be read.
    """
    try:
        read: Any = OmegaConf.to_container(OmegaConf.load(table))
        factor, source = (float(read["batch_factor"]), " by the Batch API") if batch else (1.0, "")
        if given is not None:
            prompt, completion = map(float, given)
            price = Price(prompt * factor, completion * factor, f"given{source}")
        else:
            entries: Mapping[str, Any] = read["usd_per_million_tokens"]
            entry = entries.get(model) or entries.get(_DATED.sub("", model))
            if entry is None:
                return None
            dated = f"{table.name}, {entry.get('as_of', read['as_of'])}{source}"
            price = Price(float(entry["prompt"]) * factor, float(entry["completion"]) * factor, dated)
    except Exception as error:  # YAML errors, file errors, wrong content
        what = "judge.usd_per_million_tokens" if given is not None else f"judge.prices={table}"
        form = "; it is [PROMPT,COMPLETION], in US dollars" if given is not None else ""
        raise StageError(f"{what} cannot be read as prices ({type(error).__name__}: {error}){form}") from None
    if not (price.prompt >= 0 and price.completion >= 0):
        raise StageError(f"{price.source}: a price must be a number of at least 0")
    return price


def completion_limit(body: Mapping[str, Any]) -> int | None:
    """Upper bound of the tokens in all choices of a request; None without a limit."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return int(limit) * int(body.get("n") or 1) if limit else None


def prompt_limit(body: Mapping[str, Any]) -> int:
    """Upper bound of the tokens of a prompt: every token has at least one byte."""
    return sum(len(message["content"].encode()) + TOKENS_AROUND_A_MESSAGE for message in body["messages"])


class Estimate(NamedTuple):
    """Calls, tokens and cost of a run, expected or actual."""

    num_calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None

    def share(self, num_calls: int) -> "Estimate":
        """The estimate for so many of the calls."""
        part = num_calls / max(self.num_calls, 1)
        usd = None if self.usd is None else part * self.usd
        return Estimate(num_calls, round(part * self.prompt_tokens), round(part * self.completion_tokens), usd)

    def __str__(self) -> str:
        tokens = f"{_count(self.prompt_tokens)} prompt and at most {_count(self.completion_tokens)} completion tokens"
        return f"{self.num_calls:,} calls, about {tokens}" + ("" if self.usd is None else f", ${self.usd:,.2f}")


def _count(number: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


@dataclass
class Spending:
    """Tokens used so far, and dollars reserved for calls in flight.

    A call is sent only if three sums together stay within `max_cost_usd`: the money spent, the highest possible cost
    of the calls in flight, and that of the call itself. So the cap holds at any concurrency, unless an endpoint bills
    more tokens than the limits of the request allow.
    """

    price: Price | None
    max_cost_usd: float | None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reserved_usd: float = 0.0
    other_transport_usd: float = 0.0  # price difference of tokens that an earlier run used with the other transport

    @property
    def usd(self) -> float | None:
        if self.price is None:
            return None
        return self.price.usd(self.prompt_tokens, self.completion_tokens) + self.other_transport_usd

    def max_usd(self, body: Mapping[str, Any]) -> float:
        """The highest possible cost of a call, in US dollars; 0 without a price or a cap."""
        if self.price is None or self.max_cost_usd is None:
            return 0.0
        return self.price.usd(prompt_limit(body), completion_limit(body) or 0)

    def exceeded_limit(self, body: Mapping[str, Any], completion_tokens: int) -> int | None:
        """The limit of a request that its reply has exceeded by far, so that a cap cannot hold; None without a cap."""
        limit = completion_limit(body)
        if self.price is None or self.max_cost_usd is None or limit is None:
            return None
        return limit if completion_tokens > 1.1 * limit + TOKENS_AROUND_AN_ANSWER * int(body.get("n") or 1) else None

    def reserve(self, usd: float) -> bool:
        """Reserve the highest possible cost of a call; False if the cap does not allow it."""
        if self.max_cost_usd is not None and (self.usd or 0.0) + self.reserved_usd + usd > self.max_cost_usd:
            return False
        self.reserved_usd += usd
        return True

    def release(self, usd: float) -> None:
        self.reserved_usd = max(0.0, self.reserved_usd - usd)

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def __str__(self) -> str:
        if self.usd is None:
            return f"{_count(self.prompt_tokens + self.completion_tokens)} tokens"
        cap = "" if self.max_cost_usd is None else f" of at most ${self.max_cost_usd:,.2f}"
        return f"${self.usd:,.2f}{cap}"
