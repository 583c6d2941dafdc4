"""Sources of targets: their target tokens, and the errors for rows without any."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sweep_example import corpus as make_corpus
from sweep_example import read
from target_example import DOMAIN, GOOD, OF_CHATS, SENTENCES, held_out, prepare, write
from transformers import AutoTokenizer

from qurating.corpus.targets import Jsonl, TrainingDomain, touched
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), domains=(DOMAIN, "licences"))


def test_held_out_sequences_that_are_not_there(corpus: Path, tmp_path: Path) -> None:
    count = pc.sum(pc.equal(read(corpus, "heldout")["domain"], DOMAIN)).as_py()
    message = rf"no document of the domain 'poems' .*target\.domain to one of .*{DOMAIN} \({count} sequences\)"
    with pytest.raises(StageError, match=message):
        prepare(corpus, tmp_path, held_out(domain="poems"))
    with pytest.raises(StageError, match=r"none of the \d+ held-out documents .*target\.fraction=1e-15: raise it"):
        prepare(corpus, tmp_path, held_out(fraction=1e-15))
    with pytest.raises(StageError, match="above 0 and at most 1"):
        prepare(corpus, tmp_path, held_out(fraction=1.5))
    with pytest.raises(StageError, match="at least 1, or null"):
        prepare(corpus, tmp_path, held_out(max_sequences=0))
    (tmp_path / "train_only").mkdir()
    with pytest.raises(StageError, match=r"holds out no document: .*corpus\.heldout_fraction above 0"):
        prepare(tmp_path / "train_only", tmp_path, held_out())


def test_the_first_sequences_of_a_domain_that_are_trained_on(corpus: Path, tmp_path: Path) -> None:
    rows = read(corpus)
    rows = rows.filter(pc.and_(pc.equal(rows["domain"], DOMAIN), pc.greater(rows["length"], 1)))
    of_first_shard = pq.read_table(corpus / "train" / "00000.parquet")
    number = pc.sum(pc.equal(of_first_shard["domain"], DOMAIN)).as_py() + 1  # one of the second shard, too
    assert 1 < number < len(rows)
    found, counts = prepare(corpus, tmp_path, TrainingDomain(domain=DOMAIN, max_sequences=number))
    assert found["input_ids"].to_pylist() == rows["input_ids"].to_pylist()[:number]
    assert found["labels"].to_pylist() == found["input_ids"].to_pylist()
    assert counts["examples"] == number
    _, counts = prepare(corpus, tmp_path, TrainingDomain(domain=DOMAIN, max_sequences=10**6))
    assert counts["examples"] == len(rows)
    with pytest.raises(StageError, match=rf"no text of the domain 'poems' .*one of licences, {DOMAIN}"):
        prepare(corpus, tmp_path, TrainingDomain(domain="poems", max_sequences=3))
    with pytest.raises(StageError, match="at least 1"):
        prepare(corpus, tmp_path, TrainingDomain(domain=DOMAIN, max_sequences=0))


def strings(turns: list[str]) -> dict[str, Any]:
    return {"conversations": turns, "source": "someone"}


def records(role: str, content: str, names: tuple[str, str]) -> Callable[[list[str]], dict[str, Any]]:
    return lambda turns: {"conversations": [{role: names[i % 2], content: turn} for i, turn in enumerate(turns)]}


@pytest.mark.parametrize(
    ("row_of", "num_turns"),
    [
        (strings, 2),
        (strings, 5),
        (records("role", "content", ("user", "assistant")), 4),
        (records("from", "value", ("human", "gpt")), 6),
    ],
)
@pytest.mark.parametrize("separator", ["\n", "", " 🎉 "])
def test_only_what_has_a_character_of_a_response_is_a_target(
    corpus: Path, tmp_path: Path, row_of: Callable[[list[str]], dict[str, Any]], num_turns: int, separator: str
) -> None:
    draw = random.Random()
    conversations = [draw.sample(SENTENCES, num_turns) for _ in range(4)]
    conversations[0][1] = "数据 🎉 " + conversations[0][1] + " ends in several bytes: 🎉"
    conversations[0][0] += "é"
    file = write(tmp_path / "chats.jsonl", [row_of(turns) for turns in conversations])
    source = Jsonl(paths=str(file), conversations_field="conversations", separator=separator)
    target, counts = prepare(corpus, tmp_path / "out", source)
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    assert target["document_id"].to_pylist() == [f"chats.jsonl:{n}" for n in (1, 2, 3, 4)]
    for turns, row in zip(conversations, target.to_pylist(), strict=True):
        text = separator.join(turns)
        encoded = tokenizer(text, return_offsets_mapping=True)
        assert row["text"] == text
        assert row["input_ids"] == [*encoded["input_ids"], tokenizer.eos_token_id]
        is_response = [i % 2 == 1 for i, turn in enumerate(turns) for _ in turn + separator]
        separators = [k >= len(turn) for turn in turns for k in range(len(turn + separator))]
        expected = [
            token if any(is_response[k] and not separators[k] for k in range(start, end)) else -100
            for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]
        assert row["labels"] == [*expected, tokenizer.eos_token_id if len(turns) % 2 == 0 else -100]
        learned = tokenizer.decode([token for token in row["labels"] if token != -100])
        assert all(turn in learned for turn in turns[1::2])
        assert row["length"] == len(row["input_ids"])
    assert counts["targets"] == sum(label != -100 for labels in target["labels"].to_pylist() for label in labels[1:])


def test_prompt_and_response_text_alone_and_all_tokens(corpus: Path, tmp_path: Path) -> None:
    rows: list[Any] = [
        {"q": SENTENCES[n], "a": {"b": SENTENCES[n + 1]}, "text": SENTENCES[n + 2], "name": n} for n in range(3)
    ]
    file = write(tmp_path / "a.jsonl", rows)
    pair: Any = {"prompt_field": "q", "response_field": "a.b"}
    answers, _ = prepare(corpus, tmp_path / "a", Jsonl(paths=str(file), **pair, id_field="name"))
    every, _ = prepare(corpus, tmp_path / "b", Jsonl(paths=str(file), **pair, loss_on="all"))
    plain, _ = prepare(corpus, tmp_path / "c", Jsonl(paths=str(file)))
    assert answers["document_id"].to_pylist() == ["0", "1", "2"]
    assert answers["text"].to_pylist() == [f"{row['q']}\n{row['a']['b']}" for row in rows]
    assert answers["input_ids"].equals(every["input_ids"])
    assert every["labels"].to_pylist() == every["input_ids"].to_pylist()
    for labels in answers["labels"].to_pylist():
        first = next(place for place, label in enumerate(labels) if label != -100)
        assert 0 < first < len(labels) - 1
        assert set(labels[:first]) == {-100}
        assert -100 not in labels[first:]
    assert plain["text"].to_pylist() == [row["text"] for row in rows]
    assert plain["labels"].to_pylist() == plain["input_ids"].to_pylist()


def test_tokens_that_share_characters_and_characters_of_several_tokens() -> None:
    # "ab|c" "d" "é" (two tokens) "f|g": spans are characters 2..3, 4..5, 6..7
    ends = np.array([3, 4, 5, 5, 7])
    assert touched(ends, [(0, 2)], 7).tolist() == [True, False, False, False, False]
    assert touched(ends, [(2, 3)], 7).tolist() == [True, False, False, False, False]
    assert touched(ends, [(4, 5)], 7).tolist() == [False, False, True, True, False]
    assert touched(ends, [(3, 4), (5, 6)], 7).tolist() == [False, True, False, False, True]
    assert touched(ends, [(7, 7)], 7).tolist() == [False] * 5
    assert touched(np.array([1, 1, 1]), [(0, 1)], 1).all()


OF_PAIRS: Any = {"prompt_field": "q", "response_field": "a"}


@pytest.mark.parametrize(
    ("fields", "line", "reason"),
    [
        (OF_CHATS, b'{"chat": ["cut', r"not JSON \("),
        (OF_CHATS, b'{"chat": ["caf\xe9", "b"]}', "not UTF-8 .* at byte 14"),
        (OF_CHATS, b'{"chat": []}', "an empty conversation"),
        (OF_CHATS, b'{"chat": ["a question alone"]}', r"there is no response \(turns: 1\)"),
        (OF_CHATS, b'{"chat": ["a", "b", "c", " \\n "]}', r"the response is empty \(turn 4 of 4\)"),
        (OF_CHATS, b'{"chat": "not a list"}', "field 'chat' holds a value of type str, not a list of turns"),
        (OF_CHATS, b'{"chat": ["a", 7]}', "turn 2 of field 'chat' holds a value of type int, not text"),
        (OF_CHATS, b'{"chat": [{"role": "pirate", "content": "a"}]}', "turn 1 .* role 'pirate'; known are assistant"),
        (OF_CHATS, b'{"chat": [{"role": ["user"], "content": "a"}]}', r"turn 1 .* role \['user'\]"),
        (OF_CHATS, b'{"chat": [{"role": "user"}]}', "the content of turn 1 of field 'chat' holds null"),
        (OF_CHATS, b'{"chat": ["\\ud83d alone", "b"]}', "surrogate"),
        (OF_CHATS, b'{"q": "a", "a": "b"}', "no field 'chat' .*found the fields q, a"),
        (OF_CHATS, b'["a", "b"]', "holds a value of type list, not a record"),
        (OF_PAIRS, b'{"q": "a"}', "no field 'a'"),
        (OF_PAIRS, b'{"q": "a", "a": ""}', "the response is empty"),
        (OF_PAIRS, b'{"q": null, "a": "b"}', "field 'q' holds null, not text"),
        ({}, b'{"text": null}', "field 'text' holds null"),
    ],
)
def test_a_bad_row_is_told_with_file_and_line_or_counted(
    corpus: Path, tmp_path: Path, fields: Any, line: bytes, reason: str
) -> None:
    file = tmp_path / "a.jsonl"
    good = json.dumps(GOOD).encode() + b"\n"
    file.write_bytes(good * 2 + line + b"\n" + good)
    with pytest.raises(StageError, match=rf"a\.jsonl, line 3: .*{reason}(.|\n)*target\.on_bad_row=skip"):
        prepare(corpus, tmp_path / "out", Jsonl(paths=str(file), **fields))
    target, counts = prepare(corpus, tmp_path / "out", Jsonl(paths=str(file), **fields, on_bad_row="skip"))
    assert len(target) == 3
    assert counts["bad_rows"] == 1
    (listed,) = map(json.loads, (tmp_path / "out/bad_rows.jsonl").read_text().splitlines())
    assert (Path(listed["source"]), listed["row"]) == (file, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss_on": "prompt"}, "it can be 'response' or 'all'"),
        ({"prompt_field": "q"}, "go together"),
        ({"conversations_field": "chat", **OF_PAIRS}, "exclude each other"),
        ({"on_bad_row": "ignore"}, "it can be 'stop' or 'skip'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(StageError, match=message):
        Jsonl(paths="a.jsonl", **settings)


def test_examples_longer_than_the_context_stop_or_are_cut_or_left_out(corpus: Path, tmp_path: Path) -> None:
    chats = [["Why?", "Because."], ["Say much.", " ".join(SENTENCES[:20])], [" ".join(SENTENCES[:20]), "So long?"]]
    source = Jsonl(paths=str(write(tmp_path / "a.jsonl", [{"chat": chat} for chat in chats])), **OF_CHATS)
    whole, _ = prepare(corpus, tmp_path / "whole", source)
    length = whole["length"][1].as_py()
    message = rf"a\.jsonl:2 has {length:,} tokens, .*context is 100: .*on_too_long=cut.*on_too_long=skip"
    with pytest.raises(StageError, match=message):
        prepare(corpus, tmp_path / "stop", source, context_tokens=100)
    cut, counts = prepare(corpus, tmp_path / "cut", source, context_tokens=100, on_too_long="cut")
    # nothing of the third's response is left
    assert cut["length"].to_pylist() == [whole["length"][0].as_py(), 100]
    assert cut["input_ids"][1].as_py() == whole["input_ids"][1].as_py()[:100]
    assert cut["labels"][1].as_py() == whole["labels"][1].as_py()[:100]
    assert (counts["cut"], counts["skipped"]) == (2, {"without a token to predict": 1})
    short, counts = prepare(corpus, tmp_path / "skip", source, context_tokens=100, on_too_long="skip")
    assert short["document_id"].to_pylist() == ["a.jsonl:1"]
    assert (counts["cut"], counts["skipped"]) == (0, {"too long": 2})
    exactly, counts = prepare(corpus, tmp_path / "exact", source, context_tokens=max(whole["length"].to_pylist()))
    assert exactly.equals(whole)
    with pytest.raises(StageError, match="is none of stop, cut, skip"):
        prepare(corpus, tmp_path / "unknown", source, on_too_long="trim")
    with pytest.raises(StageError, match="at least 2"):
        prepare(corpus, tmp_path / "one", source, context_tokens=1)


def test_a_first_token_is_not_predicted(corpus: Path, tmp_path: Path) -> None:
    turns = [{"role": "assistant", "content": "A"}, {"role": "user", "content": SENTENCES[0]}]
    file = write(tmp_path / "a.jsonl", [{"chat": turns}, {"chat": GOOD["chat"]}])
    target, counts = prepare(corpus, tmp_path, Jsonl(paths=str(file), **OF_CHATS))
    assert target["document_id"].to_pylist() == ["a.jsonl:2"]
    assert counts["skipped"] == {"without a token to predict": 1}
