"""Target sets: which documents they hold, whatever the shards."""

import inspect
import random
from pathlib import Path
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
from target_example import DOMAIN, GOOD, OF_CHATS, SENTENCES, held_out, prepare, write

from qurating.artifacts.seeds import seed_for
from qurating.corpus.targets import Jsonl
from qurating.runtime import hub
from qurating.runtime.errors import StageError
from qurating.stages.lqs.prepare_target import SCHEMA, prepare_target


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), domains=(DOMAIN, "licences"))


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
    mixed = rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))))
    (tmp_path / "other/heldout").mkdir(parents=True)
    for number, start in enumerate(range(0, len(mixed), 40)):
        pq.write_table(mixed.slice(start, 40), tmp_path / f"other/heldout/{number:05}.parquet")
    one, _ = prepare(corpus, tmp_path / "a", held_out(max_sequences=9))
    other, _ = prepare(tmp_path / "other", tmp_path / "b", held_out(max_sequences=9))
    assert one.equals(other)


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


def test_an_empty_target_is_refused_with_what_became_of_its_rows(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no file matches .*none\*\.jsonl"):
        prepare(corpus, tmp_path, Jsonl(paths=str(tmp_path / "none*.jsonl")))
    empty = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(StageError, match=r"the target set is empty: .*empty\.jsonl has no example"):
        prepare(corpus, tmp_path, Jsonl(paths=str(empty)))
    blank = write(tmp_path / "blank.jsonl", [{"text": " \n"}, {"text": None}])
    with pytest.raises(StageError, match=r"\(1 empty, 1 bad rows\)"):
        prepare(corpus, tmp_path, Jsonl(paths=str(blank), on_bad_row="skip"))
    masked = write(tmp_path / "masked.jsonl", [{"chat": [SENTENCES[0], "Yes."]}] * 3)
    with pytest.raises(StageError, match=r"\(3 without a token to predict\)\. .*target\.loss_on=all"):
        prepare(
            corpus,
            tmp_path,
            Jsonl(paths=str(masked), **OF_CHATS),
            context_tokens=5,
            on_too_long="cut",
        )


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
    files = [None if choice == "lima" else "target.paths"]
    assert settings["fetches"] == {"datasets": ["target.dataset"], "files": files}
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
