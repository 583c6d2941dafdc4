"""Target sets: examples of the text that a model should become good at, as token ids and labels.

A source has `examples(corpus, seed)`, which yields each `Example` once, in a fixed order; `bad_rows`, the rows that it
could not read, if `on_bad_row="skip"`; and `skipped`, the number of skipped examples by reason.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qurating.artifacts.files import row_files
from qurating.artifacts.seeds import seed_for
from qurating.corpus import readers, records, tokenizing
from qurating.corpus.labels import NO_TARGET
from qurating.corpus.readers import BadRow, Document
from qurating.runtime.errors import StageError

RESPONDENTS = ("assistant", "gpt", "model", "bot", "chatbot")
OTHERS = ("user", "human", "system", "developer", "tool", "function")

Tokens = npt.NDArray[np.int32]


class Example(NamedTuple):
    """A text, its `input_ids` and its `labels`, both int32 of shape (n,); a label is its token or NO_TARGET.

    Labels are not shifted: the label at t is predicted from the tokens before t; the first is never predicted.
    """

    document_id: str
    text: str
    input_ids: Tokens
    labels: Tokens


class Source(Protocol):
    bad_rows: list[BadRow]
    skipped: Counter[str]

    def examples(self, corpus: Path, seed: int) -> Iterator[Example]: ...


@dataclasses.dataclass(kw_only=True)
class HeldOut:
    """Held-out sequences of one domain of the corpus; every token is a target.

    Whole documents are taken, in the order of a hash of (seed, document id), while the hash is below `fraction` of its
    range, up to `max_sequences` sequences (which may cut the last document). The other documents are left for the
    evaluation. Sequences of one token are skipped.
    """

    domain: str
    fraction: float
    max_sequences: int | None
    bad_rows: list[BadRow] = dataclasses.field(default_factory=list, init=False)
    skipped: Counter[str] = dataclasses.field(default_factory=Counter, init=False)

    def examples(self, corpus: Path, seed: int) -> Iterator[Example]:
        """Raises StageError if no example is found: lists the domains, or says which setting to raise."""
        if not 0 < self.fraction <= 1:
            raise StageError(f"target.fraction is {self.fraction}; it must be above 0 and at most 1")
        if self.max_sequences is not None and self.max_sequences < 1:
            raise StageError(f"target.max_sequences is {self.max_sequences}; it must be at least 1, or null")
        rows = self._rows(corpus)
        names = rows["document_id"].unique().to_pylist()
        turns = {name: seed_for(seed, "prepare_target", "part", name) for name in names}
        turn_of_row = [turns[name] for name in rows["document_id"].to_pylist()]
        positions = rows["position"].to_pylist()
        ranked = sorted(range(len(rows)), key=lambda row: (turn_of_row[row], positions[row]))
        chosen = [row for row in ranked if turn_of_row[row] < self.fraction * 2**63][: self.max_sequences]
        if not chosen:
            raise StageError(
                f"none of the {len(names)} held-out documents of {self.domain!r} falls into target.fraction="
                f"{self.fraction}: raise it, or use another seed"
            )
        for row in rows.take(pa.array(chosen)).to_pylist():
            tokens = np.array(row["input_ids"], dtype=np.int32)
            yield Example(row["document_id"], row["text"], tokens, tokens)

    def _rows(self, corpus: Path) -> pa.Table:
        """The held-out sequences of the domain; raises StageError if it has none."""
        self.skipped.clear()
        files = sorted((corpus / "heldout").glob("*.parquet"))
        if not files:
            raise StageError(f"{corpus} holds out no document: prepare it with corpus.heldout_fraction above 0")
        parts, domains = [], Counter[str]()
        for file in files:
            table = pq.read_table(file, columns=["document_id", "position", "domain", "text", "input_ids"])
            domains.update(table["domain"].to_pylist())
            of_domain = table.filter(pc.equal(table["domain"], self.domain))
            parts.append(of_domain.filter(pc.greater_equal(pc.list_value_length(of_domain["input_ids"]), 2)))
            self.skipped["of one token"] += len(of_domain) - len(parts[-1])
        if not domains[self.domain] - self.skipped["of one token"]:
            known = ", ".join(f"{name} ({count} sequences)" for name, count in sorted(domains.items()))
            raise StageError(
                f"{corpus} holds out no document of the domain {self.domain!r} with a token to predict: set "
                f"target.domain to one of {known}; or raise corpus.heldout_fraction"
            )
        return pa.concat_tables(parts)


@dataclasses.dataclass(kw_only=True)
class TrainingDomain:
    """The first sequences of one domain in the training part of the corpus; every token is a target.

    No more shards are read than hold `max_sequences` of them. Sequences of one token are skipped.
    """

    domain: str
    max_sequences: int
    bad_rows: list[BadRow] = dataclasses.field(default_factory=list, init=False)
    skipped: Counter[str] = dataclasses.field(default_factory=Counter, init=False)

    def examples(self, corpus: Path, seed: int) -> Iterator[Example]:
        """Raises StageError if the domain has no sequence: lists the domains. The seed is not used."""
        if self.max_sequences < 1:
            raise StageError(f"target.max_sequences is {self.max_sequences}; it must be at least 1")
        self.skipped.clear()
        found, domains = 0, set[str]()
        for file in row_files(corpus / "train"):
            table = pq.read_table(file, columns=["document_id", "domain", "text", "input_ids"])
            domains.update(pc.unique(table["domain"]).to_pylist())
            for row in table.filter(pc.equal(table["domain"], self.domain)).to_pylist():
                if len(row["input_ids"]) < 2:
                    self.skipped["of one token"] += 1
                    continue
                tokens = np.array(row["input_ids"], dtype=np.int32)
                yield Example(row["document_id"], row["text"], tokens, tokens)
                found += 1
                if found == self.max_sequences:
                    return
        if not found:
            raise StageError(
                f"{corpus} has no text of the domain {self.domain!r} with a token to predict: set target.domain to one "
                f"of {', '.join(sorted(domains))}"
            )


class Conversation(Document):
    """A document with responses: `responses` are their [start, end) in characters, in order."""

    responses: list[tuple[int, int]]


@dataclasses.dataclass(kw_only=True)
class Jsonl(readers.Jsonl):
    """JSON lines (see `readers.Jsonl`) in tokens of the tokenizer of the corpus, closed with its end-of-text token.

    The first of these fields that is set says what a row holds:

    - `conversations_field`: a list of turns. Strings alternate: prompt, response, prompt, … Records have a `role` (or
      `from`) and a `content` (or `value`).
    - `prompt_field` and `response_field`: two texts.
    - `text_field`: one text, all of it a response.

    Turns are joined by `separator`. With `loss_on="response"` the targets are the tokens with a character of a
    response, and the end-of-text token if the last turn is a response; with "all", every token is a target.
    """

    settings: ClassVar[str] = "target"
    conversations_field: str | None = None
    prompt_field: str | None = None
    response_field: str | None = None
    separator: str = "\n"
    loss_on: str = "response"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss_on not in ("response", "all"):
            raise StageError(f"target.loss_on is {self.loss_on!r}; it can be 'response' or 'all'")
        if (self.prompt_field is None) != (self.response_field is None):
            raise StageError("target.prompt_field and target.response_field go together: set both, or neither")
        if self.conversations_field is not None and self.prompt_field is not None:
            raise StageError("target.conversations_field and target.prompt_field exclude each other: set one to null")

    def examples(self, corpus: Path, seed: int) -> Iterator[Example]:
        """Raises StageError with file and line of a row that is not an example, unless `on_bad_row` is "skip"."""
        self.skipped.clear()
        tokenizer, eos_token_id = tokenizing.load(corpus / "tokenizer")
        for document in self:
            assert isinstance(document, Conversation)
            text = document.text
            if not text.strip():
                self.skipped["empty"] += 1
                continue
            tokens, ends = tokenizing.encode(tokenizer, text)
            responses = document.responses if self.loss_on == "response" else [(0, len(text))]
            tokens = np.append(tokens, np.int32(eos_token_id))
            is_target = np.append(touched(ends, responses, len(text)), responses[-1][1] == len(text))
            yield Example(document.document_id, text, tokens, np.where(is_target, tokens, np.int32(NO_TARGET)))

    def document(self, row: Any, default_id: str, default_domain: str) -> Conversation:
        turns = self._turns(row) if isinstance(row, Mapping) else None
        if turns is not None:
            row = {**row, self.text_field: self.separator.join(text for text, _ in turns)}
        found = Conversation(*super().document(row, default_id, default_domain))
        found.responses, start = [], 0
        for text, is_response in turns or [(found.text, True)]:
            if is_response:
                found.responses.append((start, start + len(text)))
            start += len(text) + len(self.separator)
        return found

    def refuse(self, source: str, row: int, reason: str, unit: str) -> None:
        if self.on_bad_row == "stop":
            way_out = "Fix it, or skip such rows: target.on_bad_row=skip"
            if reason.startswith("no field"):
                way_out = (
                    "Set the field names: target.text_field, or target.prompt_field with "
                    "target.response_field, or target.conversations_field. " + way_out
                )
            raise StageError(f"{source}, {unit} {row}: {reason}\n  {way_out}")
        super().refuse(source, row, reason, unit)

    def _turns(self, row: Mapping[str, Any]) -> list[tuple[str, bool]] | None:
        """The turns of a row, each with whether it is a response; None for a plain text."""
        if self.conversations_field is not None:
            turns = _conversation(records.lookup(row, self.conversations_field), self.conversations_field)
        elif self.prompt_field is not None and self.response_field is not None:
            turns = [
                (_text(records.lookup(row, self.prompt_field), f"field {self.prompt_field!r}"), False),
                (_text(records.lookup(row, self.response_field), f"field {self.response_field!r}"), True),
            ]
        else:
            return None
        if not any(is_response for _, is_response in turns):
            raise records.BadRowError(f"there is no response (turns: {len(turns)})")
        for number, (text, is_response) in enumerate(turns, 1):
            if is_response and not text.strip():
                raise records.BadRowError(f"the response is empty (turn {number} of {len(turns)})")
        return turns


def touched(ends: npt.NDArray[np.int64], spans: list[tuple[int, int]], num_characters: int) -> npt.NDArray[np.bool_]:
    """Which tokens have a character in one of the spans, bool (n,).

    Args:
        ends: (n,), the number of characters that each token and those before it cover, see `tokenizing.encode`.
        spans: [start, end) in characters, not overlapping.
    """
    inside = np.zeros(num_characters + 1, dtype=np.int64)
    for start, end in spans:
        inside[start + 1 : end + 1] = 1
    inside = np.cumsum(inside)  # how many of the first k characters are inside
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    # if several tokens share a character, only the first covers it: the others count like the first
    starts = np.where(ends > starts, starts, np.maximum(starts - 1, 0))
    return inside[ends] > inside[starts]


def _conversation(value: Any, field: str) -> list[tuple[str, bool]]:
    """The turns of a conversation, each with whether it is a response."""
    if not isinstance(value, list):
        raise records.BadRowError(f"field {field!r} holds {records.kind_of(value)}, not a list of turns")
    if not value:
        raise records.BadRowError(f"field {field!r} holds an empty conversation")
    turns = []
    for number, turn in enumerate(value, 1):
        where = f"turn {number} of field {field!r}"
        if not isinstance(turn, Mapping):
            turns.append((_text(turn, where), number % 2 == 0))
            continue
        role = turn.get("role", turn.get("from"))
        if role not in RESPONDENTS + OTHERS:
            raise records.BadRowError(
                f"{where} has the unknown role {role!r}; known are {', '.join(RESPONDENTS + OTHERS)}"
            )
        turns.append((_text(turn.get("content", turn.get("value")), f"the content of {where}"), role in RESPONDENTS))
    return turns


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise records.BadRowError(f"{what} holds {records.kind_of(value)}, not text")
    return value
