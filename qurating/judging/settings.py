"""The settings in the group `judge` of the configuration, and their checks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from qurating.corpus.files import in_repository
from qurating.judging import labels
from qurating.judging.endpoint import costs
from qurating.judging.endpoint.costs import LIMITS
from qurating.judging.prompts import Prompt
from qurating.runtime.errors import StageError

CHOICES = {
    "mode": ("pairwise", "individual"),
    "method": ("auto", "logprobs", "votes", "separate_votes"),
    "transport": ("online", "batch"),
    "api": ("openai", "azure"),
    "token_limit": LIMITS,
}
MAY_BE_NULL = ("temperature", "max_thinking_tokens")
METHODS = ("logprobs", "votes", "separate_votes")  # from the cheapest on
RENAMED = {
    "min_words": "min_tokens, and counts tokens: scripts without spaces have no words to count",
    "ranking_sha256": "ranking_listing: ${listing:${.ranking}}",
}
AT_LEAST: dict[str, float] = {
    "min_tokens": 0,
    "timeout_seconds": 0.001,
    "poll_seconds": 0,
    "patience_seconds": 0,
    "max_retries": 0,
    "temperature": 0,
}
COUNTS = ("num_pairs", "max_snippet_tokens", "num_votes", "max_concurrency", "max_batch_requests")

# the most tokens of an answer, without a thought
LABEL_TOKENS = 1
GRADE_TOKENS = 3  # "10" after a blank or a mark
ANSWER_TOKENS = 16  # after a thought, or in one of the forms of a label_pattern


@dataclass(frozen=True)
class JudgeSettings:
    """The settings of a judge; conf/judge/*.yaml explain each."""

    name: str
    model: str
    num_pairs: int
    max_snippet_tokens: int
    prompt: str
    prompt_sha256: str  # part of the identity of the judgments: an edited prompt makes other judgments
    mode: str = "pairwise"
    method: str = "auto"
    base_url: str | None = None
    simulated: bool = False
    api: str = "openai"
    api_version: str | None = None
    api_key_variable: str | None = None
    gguf: str | None = None
    context_tokens: int = 4096
    num_votes: int = 20
    temperature: float | None = 1.0  # None: not sent, as for the others that may be None
    label_pattern: str | None = None
    max_thinking_tokens: int | None = None  # None: the judge answers at once
    reasoning_effort: str | None = None
    token_limit: str = "max_tokens"
    request_options: Mapping[str, Any] = field(default_factory=dict)
    label_options: Mapping[str, Any] = field(default_factory=dict)
    min_tokens: int = 32
    triple_fraction: float = 0.0
    ranking: str | None = None
    ranking_listing: str | None = None
    prices: str = "conf/prices.yaml"
    usd_per_million_tokens: Sequence[float] | None = None
    max_cost_usd: float | None = None
    max_failed_fraction: float = 0.05
    retry_failed: bool = False
    reuse_answers: bool = True
    transport: str = "online"
    max_batch_requests: int = 50_000
    max_batch_bytes: int = 200_000_000
    poll_seconds: float = 60.0
    max_concurrency: int = 32
    timeout_seconds: float = 60.0
    max_retries: int = 5
    patience_seconds: float = 300.0
    positional_bias: float = 0.0
    noise: float = 0.0
    compare_with: str | None = None  # the artifact itself is an input of the stage
    num_threads: int | None = None
    gguf_listing: str | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "JudgeSettings":
        """Check and read the settings; raises StageError, which names the invalid one."""
        known = {entry.name for entry in fields(cls)}
        if old := sorted(set(given) & RENAMED.keys()):
            raise StageError(f"judge.{old[0]} is now called {RENAMED[old[0]]}")
        if unknown := sorted(set(given) - known):
            raise StageError(f"judge has no setting {', '.join(unknown)}; its settings are {', '.join(sorted(known))}")
        try:
            settings = cls(**given)
        except TypeError as error:
            raise StageError(f"conf/judge/{given.get('name', '<judge>')}.yaml: {error}") from None
        for name, choices in CHOICES.items():
            if getattr(settings, name) not in choices:
                wanted = ", ".join(choices[:-1]) + f" or {choices[-1]}"
                raise StageError(f"judge.{name} is {getattr(settings, name)!r}: it must be {wanted}")
        for name in (*COUNTS, "max_thinking_tokens"):
            value = getattr(settings, name)
            if not (isinstance(value, int) and value >= 1) and not (value is None and name in MAY_BE_NULL):
                raise StageError(f"judge.{name} is {value}: it must be a whole number of at least 1")
        for name, least in AT_LEAST.items():
            value = getattr(settings, name)
            if value is None and name in MAY_BE_NULL:
                continue
            if not (isinstance(value, int | float) and not isinstance(value, bool) and value >= least):
                raise StageError(f"judge.{name} is {value}: it must be a number of at least {least:g}")
        for name in ("request_options", "label_options"):
            settings._check_options(name)
        settings._check_answers()
        cap = settings.max_cost_usd
        if cap is not None and not (isinstance(cap, int | float) and cap >= 0):
            raise StageError(
                f"judge.max_cost_usd is {settings.max_cost_usd}: it must be a sum in US dollars, or null (no cap)"
            )
        for name, whole in (("triple_fraction", "pairs"), ("max_failed_fraction", "judgments")):
            value = getattr(settings, name)
            if not (isinstance(value, int | float) and 0 <= value <= 1):
                raise StageError(f"judge.{name} is {value}: it must be a share of the {whole}, from 0 to 1")
        settings._check_endpoint()
        return settings

    def _check_options(self, name: str) -> None:
        options = getattr(self, name)
        if not isinstance(options, Mapping):
            raise StageError(f"judge.{name} is {options}: it must be a mapping, such as {{top_p: 0.9}}")
        for option in (*LIMITS, "n", "top_logprobs"):
            value = options.get(option)
            if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
                raise StageError(
                    f"judge.{name}.{option} is {value}: it must be a whole number of at least 1, or null (left out)"
                )

    def _check_answers(self) -> None:
        if self.label_pattern is not None:
            try:
                labels.check(self.label_pattern)
            except ValueError as error:
                raise StageError(f"judge.label_pattern={self.label_pattern}: {error}") from None
            if self.mode == "individual" or self.method == "logprobs":
                other = "judge.mode=individual" if self.mode == "individual" else "judge.method=logprobs"
                raise StageError(f"judge.label_pattern is for the labels of votes, which {other} does not ask for")
        effort = self.reasoning_effort
        if not (effort is None or (isinstance(effort, str) and effort)):
            raise StageError(f"judge.reasoning_effort is {effort}: it must be a word, such as low, or null (not sent)")
        if not self.thinks:
            return
        if self.method == "logprobs":
            raise StageError(
                "judge.method=logprobs reads the first token, which is that of the thought with "
                "judge.max_thinking_tokens: set judge.method=auto"
            )
        own = self._own_options
        if own.get("logit_bias"):
            raise StageError(
                "logit_bias in judge.label_options or judge.request_options biases the thought, too, with "
                "judge.max_thinking_tokens: remove it, as by judge.label_options.logit_bias=null"
            )
        if limits := [name for name in LIMITS if own.get(name)]:
            raise StageError(
                f"judge.request_options.{limits[0]} and judge.max_thinking_tokens set the same limit: remove the former"
            )

    def _check_endpoint(self) -> None:
        if self.mode == "individual" and self.method == "logprobs":
            raise StageError("judge.mode=individual samples grades: set judge.method=auto, not logprobs")
        if self.simulated and (self.mode == "individual" or self.transport == "batch"):
            raise StageError(
                "the simulated judge compares pairs, online: judge.mode=individual and judge.transport=batch need a "
                "real one, such as judge=endpoint"
            )
        if self.simulated or self.gguf is not None:
            return
        if not self.base_url:
            raise StageError(
                "judge.base_url is not set: set it to the address of the endpoint, such as http://localhost:8000/v1"
            )
        if self.api == "azure" and not self.api_version:
            raise StageError("judge.api_version is not set: Azure needs one, such as 2024-10-21")

    @property
    def thinks(self) -> bool:
        """Whether the judge thinks before it answers."""
        return self.max_thinking_tokens is not None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that judge.method=auto tries: log-probabilities only if the first token has to be a label."""
        label_first = self.mode == "pairwise" and not self.thinks and self.label_pattern is None
        return METHODS if label_first else METHODS[1:]

    @property
    def _own_options(self) -> dict[str, Any]:
        return {**self.request_options, **(self.label_options if self.mode == "pairwise" else {})}

    def body(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Model and options of a request, with those of its method; the user's options replace or remove any."""
        answer_tokens = GRADE_TOKENS if self.mode == "individual" else LABEL_TOKENS
        if self.thinks or self.label_pattern is not None:
            answer_tokens = ANSWER_TOKENS
        own = self._own_options
        given = {"temperature": self.temperature, "reasoning_effort": self.reasoning_effort, **options, **own}
        if not any(own.get(name) for name in LIMITS):
            given.setdefault(self.token_limit, answer_tokens + (self.max_thinking_tokens or 0))
        return {"model": self.model} | {key: value for key, value in given.items() if value is not None}

    @property
    def where(self) -> str:
        """The kind of server that judges: simulated, local or remote."""
        return "simulated" if self.simulated else "local" if self.gguf is not None else "remote"

    def price(self, batch: bool) -> costs.Price | None:
        """The price of the model; raises StageError if a cap is set that cannot be enforced."""
        if self.where != "remote":
            return None
        price = costs.find_price(self.model, in_repository(self.prices), self.usd_per_million_tokens, batch)
        if price is None and self.max_cost_usd is not None:
            raise StageError(
                f"judge.max_cost_usd={self.max_cost_usd:g} cannot be enforced: {self.prices} has no price of "
                f"{self.model}. Set it in US dollars per million tokens of prompt and completion, such as "
                "judge.usd_per_million_tokens=[0.15,0.60]; or remove the cap: judge.max_cost_usd=null"
            )
        if self.max_cost_usd is not None and costs.completion_limit(self.body({})) is None:
            raise StageError(
                "judge.max_cost_usd cannot be enforced without a limit on the length of an answer: set "
                "judge.request_options.max_completion_tokens"
            )
        return price

    def read_prompts(self, criteria: Mapping[str, Mapping[str, Any]]) -> dict[str, Prompt]:
        """The template of each criterion: its own `prompt`, else `judge.prompt`; raises StageError."""
        shows = ("text_a", "text_b") if self.mode == "pairwise" else ("text",)
        found = {}
        for name, criterion in criteria.items():
            path = criterion.get("prompt") or self.prompt
            try:
                found[name] = Prompt(in_repository(path), shows, shared=path == self.prompt)
            except (OSError, ValueError) as error:
                where = f"prompt of {name}" if criterion.get("prompt") else "judge.prompt"
                raise StageError(f"{where}={path}: {error}") from None
        return found


def check_criteria(criteria: Mapping[str, Mapping[str, Any]], simulated: bool) -> None:
    """Raise StageError for criteria that are incomplete or indistinguishable."""
    if not criteria:
        raise StageError("no criterion is set: name at least one of conf/criterion/")
    for name, criterion in criteria.items():
        for key in ("name", "question", "description", *(["simulated_weights"] if simulated else [])):
            if not criterion.get(key):
                why = ", which the simulated judge needs (or use a real one: judge=endpoint)" if "sim" in key else ""
                raise StageError(f"conf/criterion/{name}.yaml: `{key}` is missing{why}")
        if criterion["name"] != name:
            raise StageError(f"conf/criterion/{name}.yaml: `name` is {criterion['name']!r}; it must be {name!r}")
        if criterion.get("prompt") and not criterion.get("prompt_sha256"):
            raise StageError(
                f"conf/criterion/{name}.yaml: `prompt_sha256` is missing. Add "
                "`prompt_sha256: ${sha256:${.prompt}}` next to `prompt`, so that an edited prompt makes other judgments"
            )
    questions = [criterion["question"] for criterion in criteria.values()]
    if (simulated and _contained(questions)) or len(set(questions)) < len(questions):
        raise StageError("two criteria ask the same question: change `question` in one of their files")


def _contained(questions: Iterable[str]) -> bool:
    return any(a != b and a in b for a in questions for b in questions)
