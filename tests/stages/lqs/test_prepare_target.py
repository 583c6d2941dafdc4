"""Target sets: which documents and which tokens they hold, and what is said of rows that hold none."""

import inspect
import json
import random
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hydra import compose
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sweep_example import corpus as make_corpus
from sweep_example import read
from transformers import AutoTokenizer

from qurating.artifacts.seeds import seed_for
from qurating.corpus.targets import HeldOut, Jsonl, Source, touched
from qurating.runtime import hub
from qurating.runtime.errors import StageError
from qurating.stages.lqs.prepare_target import SCHEMA, prepare_target

DOMAIN = "stdlib_docstrings"
SENTENCES = [part.replace("\n", " ") for text in topics.values() for part in text.split("\n\n") if len(part) > 60]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), domains=(DOMAIN, "licences"))


def prepare(corpus: Path, output: Path, source: Source, **changes: Any) -> tuple[pa.Table, dict[str, Any]]:
    output.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"context_tokens": 4096, "on_too_long": "stop", "seed": 3} | changes
    counts = prepare_target(output=output, corpus=corpus, source=source, **settings)
    return pq.read_table(output / "target.parquet"), counts


def held_out(**changes: Any) -> HeldOut:
    settings: dict[str, Any] = {"domain": DOMAIN, "fraction": 0.6, "max_sequences": None} | changes
    return HeldOut(**settings)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# held-out sequences ---------------------------------------------------------------------------------------------------


def test_a_part_of_one_domains_documents_is_taken_whole(corpus: Path, tmp_path: Path) -> None:
    there = [row for row in read(corpus, "heldout").to_pylist() if row["domain"] == DOMAIN]
    taken: list[str] = []
    turns: dict[str, int] = {}
    while not 0 < len(taken) < len(turns):
        seed = random.randrange(10**6)
        turns = {row["document_id"]: seed_for(seed, "prepare_target", "part", row["document_id"]) for row in there}
        taken = sorted((d for d in turns if turns[d] < 0.6 * 2**63), key=lambda d: turns[d])
    target, counts = prepare(corpus, tmp_path, held_out(), seed=seed)
    expected = [row for d in taken for row in sorted(there, key=lambda r: r["position"]) if row["document_id"] == d]
    assert target.schema.equals(SCHEMA)
    assert target["document_id"].to_pylist() == [row["document_id"] for row in expected]
    assert target["text"].to_pylist() == [row["text"] for row in expected]
    assert target["input_ids"].to_pylist() == target["labels"].to_pylist() == [row["input_ids"] for row in expected]
    assert target["length"].to_pylist() == [row["length"] for row in expected]
    assert counts["documents"] == len(taken)
    assert counts["examples"] == len(expected)
    assert counts["targets"] == counts["tokens"] - len(expected) == sum(row["length"] - 1 for row in expected)


def test_fewer_sequences_are_the_first_of_more(corpus: Path, tmp_path: Path) -> None:
    whole, _ = prepare(corpus, tmp_path / "a", held_out(fraction=1.0))
    few, counts = prepare(corpus, tmp_path / "b", held_out(fraction=1.0, max_sequences=5))
    part, _ = prepare(corpus, tmp_path / "c", held_out(fraction=0.5))
    assert few.equals(whole.slice(0, 5).combine_chunks())
    assert counts["examples"] == 5
    assert part["text"].to_pylist() == whole["text"].to_pylist()[: len(part)]
    other, _ = prepare(corpus, tmp_path / "d", held_out(fraction=0.5), seed=4)
    assert set(other["document_id"].to_pylist()) != set(part["document_id"].to_pylist())


def test_shards_and_the_order_of_rows_change_nothing(corpus: Path, tmp_path: Path) -> None:
    rows = read(corpus, "heldout")
    mixed = rows.take(pa.array(np.random.default_rng().permutation(len(rows))))
    (tmp_path / "other/heldout").mkdir(parents=True)
    for number, start in enumerate(range(0, len(mixed), 40)):
        pq.write_table(mixed.slice(start, 40), tmp_path / f"other/heldout/{number:05}.parquet")
    one, _ = prepare(corpus, tmp_path / "a", held_out(max_sequences=9))
    other, _ = prepare(tmp_path / "other", tmp_path / "b", held_out(max_sequences=9))
    assert one.equals(other)


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


def test_a_sequence_of_one_token_is_no_target(corpus: Path, tmp_path: Path) -> None:
    rows = read(corpus, "heldout")
    mine = rows.filter(pc.equal(rows["domain"], DOMAIN))
    ids = [ids if number else ids[:1] for number, ids in enumerate(mine["input_ids"].to_pylist())]
    short = mine.set_column(mine.schema.get_field_index("input_ids"), "input_ids", pa.array(ids, pa.list_(pa.int32())))
    (tmp_path / "short/heldout").mkdir(parents=True)
    pq.write_table(short, tmp_path / "short/heldout/00000.parquet")
    target, counts = prepare(tmp_path / "short", tmp_path, held_out(fraction=1.0))
    assert len(target) == len(mine) - 1
    assert counts["skipped"] == {"of one token": 1}


# rows of files --------------------------------------------------------------------------------------------------------


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


GOOD = {
    "chat": ["How is a list copied?", "With copy.copy, or a slice."],
    "q": "Why?",
    "a": "Because.",
    "text": "A text.",
}
OF_CHATS: Any = {"conversations_field": "chat"}
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


# lengths and emptiness ------------------------------------------------------------------------------------------------


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
    with pytest.raises(StageError, match="it can be stop, cut, skip"):
        prepare(corpus, tmp_path / "unknown", source, on_too_long="trim")
    with pytest.raises(StageError, match="at least 2"):
        prepare(corpus, tmp_path / "one", source, context_tokens=1)


def test_an_empty_target_is_refused_with_what_became_of_its_rows(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no file matches .*none\*\.jsonl"):
        prepare(corpus, tmp_path, Jsonl(paths=str(tmp_path / "none*.jsonl")))
    empty = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(StageError, match=r"the target set is empty: there is not one example in .*empty\.jsonl"):
        prepare(corpus, tmp_path, Jsonl(paths=str(empty)))
    blank = write(tmp_path / "blank.jsonl", [{"text": " \n"}, {"text": None}])
    with pytest.raises(StageError, match=r"\(1 empty, 1 bad rows\)"):
        prepare(corpus, tmp_path, Jsonl(paths=str(blank), on_bad_row="skip"))
    masked = write(tmp_path / "masked.jsonl", [{"chat": [SENTENCES[0], "Yes."]}] * 3)
    with pytest.raises(StageError, match=r"\(3 without a token to predict\) .*target\.loss_on=all"):
        prepare(
            corpus,
            tmp_path,
            Jsonl(paths=str(masked), **OF_CHATS),
            context_tokens=5,
            on_too_long="cut",
        )


def test_a_first_token_is_not_predicted(corpus: Path, tmp_path: Path) -> None:
    turns = [{"role": "assistant", "content": "A"}, {"role": "user", "content": SENTENCES[0]}]
    file = write(tmp_path / "a.jsonl", [{"chat": turns}, {"chat": GOOD["chat"]}])
    target, counts = prepare(corpus, tmp_path, Jsonl(paths=str(file), **OF_CHATS))
    assert target["document_id"].to_pylist() == ["a.jsonl:2"]
    assert counts["skipped"] == {"without a token to predict": 1}


# configuration --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["embedded", "jsonl", "lima"])
def test_the_configuration_makes_the_source_and_every_argument(
    conf: Path, corpus: Path, tmp_path: Path, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        tmp_path / "train.jsonl", [{"conversations": GOOD["chat"], "source": "x"}, {"conversations": ["a", "b"]}]
    )
    asked = []

    def fetch(**given: Any) -> str:
        asked.append(given)
        return str(file)

    monkeypatch.setattr(hub, "fetch", fetch)
    overrides = {"jsonl": [f"target.paths={file}", "target.conversations_field=conversations"]}.get(choice, [])
    parts = [compose(f"target/{choice}", overrides), compose("stage/prepare_target")]
    around = {"seed": 0, "corpus": {"sequence_length": 64}, "artifacts": {"prepare_corpus": "corpora/c"}}
    config: Any = OmegaConf.merge(around, *(OmegaConf.to_container(part, resolve=False) for part in parts))
    settings: Any = OmegaConf.to_container(config.stages.prepare_target, resolve=True)
    given = {key: value for key, value in settings.items() if key not in ("inputs", "fetches")}
    made = instantiate(given, _partial_=True, _convert_="all").keywords
    parameters = inspect.signature(prepare_target).parameters.keys()
    assert made.keys() | settings["inputs"].keys() == parameters - {"output"}
    assert settings["fetches"] == {"models": [], "datasets": ["GAIR/lima" if choice == "lima" else None]}
    expected = {"embedded": "heldout-stdlib_docstrings", "jsonl": "train", "lima": "lima"}
    assert config.target.name == expected[choice]
    assert asked == ([{"dataset": "GAIR/lima", "file": "train.jsonl", "revision": None}] if choice == "lima" else [])
    assert made["on_too_long"] == ("cut" if choice == "lima" else "stop")
    if choice == "jsonl":
        assert "1 files" in made["files"]
    prepare_target(output=tmp_path, corpus=corpus, **made)
    target = pq.read_table(tmp_path / "target.parquet")
    if choice != "embedded":
        assert target["text"].to_pylist() == ["\n".join(GOOD["chat"]), "a\nb"]
        assert (-100 in target["labels"][0].as_py()) == (choice == "jsonl")  # of lima all tokens are targets
