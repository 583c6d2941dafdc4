"""The requests of a run about pairs or texts, and the numbers from their answers."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qurating.judging import preferences
from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Request
from qurating.judging.endpoint.costs import Estimate, completion_limit
from qurating.judging.endpoint.response_log import Answer
from qurating.judging.labels import Labels
from qurating.judging.pairs import Pairs
from qurating.judging.prompts import Messages, Prompt
from qurating.judging.settings import JudgeSettings

SAMPLE = 256  # an estimate counts the tokens of so many prompts


class Method(NamedTuple):
    """How a preference is measured: logprobs, votes or separate_votes.

    `votes_per_call`: a divisor of `num_votes`; None: all votes in one call.
    """

    name: str
    top_logprobs: int = 20
    votes_per_call: int | None = None

    def choices(self, num_votes: int) -> int:
        """The number of answers in one reply."""
        return {"logprobs": 1, "separate_votes": 1}.get(self.name, self.votes_per_call or num_votes)


class Requests:
    """All requests of a run, in the order of their positions, and the numbers from their answers.

    The order is pairs, criteria, the two orders (first text 0 as A), separate votes; in individual mode it is texts,
    criteria, votes. Answers fill `weights` (pairs, criteria, orders, labels) or `grades` (texts, criteria, votes), NaN
    where absent, and `failures` by position.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        criteria: Mapping[str, Mapping[str, Any]],
        prompts: Mapping[str, Prompt],
        pairs: Pairs,
        method: Method,
    ) -> None:
        self.settings, self.method = settings, method.name
        self._top_logprobs, self._choices = method.top_logprobs, method.choices(settings.num_votes)
        self._criteria, self._prompts, self._pairs = criteria, prompts, pairs
        self._read = Labels(settings.label_pattern)
        self.pairwise = settings.mode == "pairwise"
        self.calls_each = 1 if self.method == "logprobs" else settings.num_votes // self._choices
        units = (len(pairs.first), len(criteria), 2) if self.pairwise else (len(pairs.texts), len(criteria))
        self._shape = (*units, self.calls_each)
        self.failures: dict[int, Answer] = {}
        if self.pairwise:
            self._sums = np.zeros((*units, 2))
            self._answered = np.zeros(units, np.int32)
        else:
            self.grades = np.full((*units, settings.num_votes), np.nan, np.float32)
        self._repeats = _repeats(pairs, self.pairwise)

    @property
    def num_calls(self) -> int:
        return int(np.prod(self._shape))

    @property
    def num_units(self) -> int:
        """Pairs, or texts in individual mode."""
        return self._shape[0]

    @property
    def calls_per_unit(self) -> int:
        """Calls about one pair, or about one text in individual mode."""
        return int(np.prod(self._shape[1:]))

    def body(self, messages: Messages) -> dict[str, Any]:
        """The body of a chat completion for the method of this run."""
        options: dict[str, Any] = {}
        if self.method == "logprobs":
            options = {"logprobs": True, "top_logprobs": self._top_logprobs}
        elif self.method == "votes":
            options = {"n": self._choices}
        return {**self.settings.body(options), "messages": messages}

    def all(self, units: Sequence[int] | None = None) -> Iterator[Request]:
        """Every request (about these pairs or texts); the same in every run, so that the response log recognises them.

        Equal texts make equal requests: those are numbered like votes, so that each has an answer of its own.
        """
        for unit in range(self._shape[0]) if units is None else units:
            position = unit * self.calls_per_unit
            for messages, repeat in zip(self._messages([unit]), itertools.cycle(self._repeats[unit]), strict=False):
                body = self.body(messages)
                for vote in range(self.calls_each):
                    yield Request(position, body, int(repeat) * self.calls_each + vote, not self.settings.thinks)
                    position += 1

    def questions(self, number: int) -> Iterator[Request]:
        """Up to this many requests, each of another pair or text, spread over the run."""
        for unit in dict.fromkeys(np.linspace(0, self._shape[0] - 1, number).astype(int).tolist()):
            yield next(self.all([unit]))

    def _messages(self, units: Sequence[int]) -> Iterator[Messages]:
        pairs, texts = self._pairs, self._pairs.texts
        for unit in units:
            for name, criterion in self._criteria.items():
                prompt = self._prompts[name]
                if self.pairwise:
                    zero, one = texts[pairs.first[unit]], texts[pairs.second[unit]]
                    yield prompt.messages(criterion, zero, one)
                    yield prompt.messages(criterion, one, zero)
                else:
                    yield prompt.messages(criterion, texts[unit])

    def parse(self, reply: Any) -> list[float]:
        """The numbers in a reply; raises AnswerError if it has none."""
        thinks = self.settings.thinks
        if not self.pairwise:
            return replies.grades_from_votes(reply, thinks)
        if self.method == "logprobs":
            return list(replies.weights_from_logprobs(reply))
        if self.method == "votes":
            return list(replies.weights_from_votes(reply, self._choices, self._read, thinks))
        return list(replies.vote_of(reply, self._read, thinks))

    def record(self, position: int, answer: Answer) -> None:
        """Store the answer to the request at this position."""
        if answer.values is None:
            self.failures[position] = answer
        elif self.pairwise:
            unit = np.unravel_index(position // self.calls_each, self._answered.shape)
            self._sums[unit] += answer.values
            self._answered[unit] += 1
        else:
            text, criterion, vote = self.place(position)
            first, values = vote * self._choices, answer.values[: self._choices]
            self.grades[text, criterion, first : first + len(values)] = values

    def place(self, position: int) -> list[int]:
        """Indices of a position: pair, criterion, order, vote; or text, criterion, vote."""
        return [int(i) for i in np.unravel_index(position, self._shape)]

    @property
    def weights(self) -> preferences.Floats:
        """Weights of the labels; NaN unless answered, or unless more than half of all votes name one."""
        votes = self._sums.sum(axis=-1)
        found = self._answered > 0 if self.method == "logprobs" else 2 * votes > self.settings.num_votes
        return np.where(found[..., None], self._sums, np.nan)

    @property
    def votes_without_label(self) -> float | None:
        """The share of the votes in usable replies that name no label; None without such votes."""
        if not self.pairwise or self.method == "logprobs" or not self._answered.any():
            return None
        return float(1 - self._sums.sum() / (self._answered.sum() * self._choices))

    @property
    def failed_fraction(self) -> float:
        """The share of the judgments without a result: a pair, criterion and order, or a text and criterion."""
        results = self.weights[..., 0] if self.pairwise else np.fmax.reduce(self.grades, axis=-1)
        return float(np.isnan(results).mean()) if results.size else 0.0

    @property
    def label_shares(self) -> preferences.Floats:
        """How much of an answer is a label: of the probability, or of all votes asked for; (pairs, criteria, orders).

        NaN where the weights are. The rest went to other words.
        """
        whole: preferences.Floats = self.weights.sum(axis=-1)
        return whole if self.method == "logprobs" else whole / self.settings.num_votes

    def estimate(self, tokenizer: Any, price: Any) -> Estimate:
        """Calls, tokens (from a sample of prompts, by the tokenizer of the corpus) and cost of the whole run."""
        units = np.unique(np.linspace(0, self._shape[0] - 1, min(self._shape[0], SAMPLE)).astype(int)).tolist()
        prompts = list(itertools.islice(self._messages(units), 4 * SAMPLE))
        counted = [sum(len(tokenizer.encode(m["content"]).ids) + 4 for m in messages) for messages in prompts]
        prompt_tokens = round(np.mean(counted) * self.num_calls)
        completion_tokens = (completion_limit(self.body(prompts[0])) or 0) * self.num_calls
        usd = None if price is None else price.usd(prompt_tokens, completion_tokens)
        return Estimate(self.num_calls, prompt_tokens, completion_tokens, usd)


def _repeats(pairs: Pairs, pairwise: bool) -> NDArray[np.int64]:
    """How often each request came before, in the order of positions: (pairs, orders), or (texts, 1)."""
    numbers: dict[str, int] = {}
    texts = np.array([numbers.setdefault(text, len(numbers)) for text in pairs.texts], np.int64)
    if pairwise:
        first, second = texts[pairs.first], texts[pairs.second]
        asked = np.stack([first * len(numbers) + second, second * len(numbers) + first], axis=1)
    else:
        asked = texts[:, None]
    order = np.argsort(asked, axis=None, kind="stable")
    _, starts, counts = np.unique(asked.ravel()[order], return_index=True, return_counts=True)
    repeats = np.empty(asked.size, np.int64)
    repeats[order] = np.arange(asked.size) - np.repeat(starts, counts)
    return repeats.reshape(asked.shape)
