"""The evaluation stage on a random tiny Llama and real text."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from evaluation_example import corpus_and_model, run
from sweep_example import PIECE, read
from transformers import AutoModelForCausalLM

from qurating.artifacts.files import write_table
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return corpus_and_model(tmp_path_factory.mktemp("evaluate"))


def test_every_sequence_matches_a_plain_forward_pass(made: tuple[Path, Path], tmp_path: Path) -> None:
    counts = run(made, tmp_path / "out")
    got = pq.read_table(tmp_path / "out" / "sequences.parquet")
    held = read(made[0], "heldout")
    assert got["id"].equals(held["id"])  # corpus order
    assert got["num_tokens"].to_pylist() == held["length"].to_pylist()
    assert got["num_bytes"].to_pylist() == [len(text.encode()) for text in held["text"].to_pylist()]
    network = AutoModelForCausalLM.from_pretrained(made[1]).eval()
    for row in (0, 1, len(held) // 2, len(held) - 1):
        ids = held["input_ids"][row].as_py()
        with torch.no_grad():
            logits = network(input_ids=torch.tensor([[0, *ids]])).logits[0, :-1].double()
        expected = -torch.log_softmax(logits, -1)[range(len(ids)), ids].sum().item()
        assert got["nll_nats"][row].as_py() == pytest.approx(expected, rel=1e-5)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    nats = sum(got["nll_nats"].to_pylist()) / sum(got["num_tokens"].to_pylist())
    assert metrics["overall"]["perplexity"] == pytest.approx(math.exp(nats))
    assert counts["perplexity"] == metrics["overall"]["perplexity"]
    assert set(metrics["domains"]) == set(held["domain"].to_pylist())
    assert sum(m["num_tokens"] for m in metrics["domains"].values()) == metrics["overall"]["num_tokens"]


def test_bfloat16_is_near(made: tuple[Path, Path], tmp_path: Path) -> None:
    exact = run(made, tmp_path / "a")["nats_per_token"]
    rough = run(made, tmp_path / "b", precision="bf16-mixed")["nats_per_token"]
    assert rough != exact
    assert rough == pytest.approx(exact, rel=2e-2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"precision": "16-mixed"}, "32-true, bf16-mixed"),
        ({"accelerator": "tpu"}, "auto, cpu or gpu"),
        ({"batch_size_sequences": 0}, "at least 1"),
    ],
)
def test_unknown_settings_are_refused(
    made: tuple[Path, Path], tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        run(made, tmp_path / "out", **changed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no CUDA device: set stages\.evaluate\.accelerator=auto or cpu"):
        run(made, tmp_path / "out", accelerator="gpu")


def test_documents_of_the_target_set_are_left_out(made: tuple[Path, Path], tmp_path: Path) -> None:
    held = read(made[0], "heldout")
    documents = list(dict.fromkeys(held["document_id"].to_pylist()))
    # a target may name a document for each of its sequences, and documents that are not held out
    excluded = [documents[1], documents[1], documents[-1], "train.jsonl:7"]
    write_table(tmp_path / "target/target.parquet", pa.table({"document_id": excluded, "labels": [[1]] * 4}))
    every = run(made, tmp_path / "a")
    counts = run(made, tmp_path / "b", excluded=tmp_path / "target")
    assert "excluded_documents" not in every
    assert counts["excluded_documents"] == 2
    a, b = (pq.read_table(tmp_path / x / "sequences.parquet") for x in "ab")
    kept = a.filter(pa.array([name not in excluded for name in a["document_id"].to_pylist()]))
    assert b.drop("nll_nats").equals(kept.drop("nll_nats").combine_chunks())
    np.testing.assert_allclose(b["nll_nats"].to_numpy(), kept["nll_nats"].to_numpy(), rtol=1e-5)
    write_table(tmp_path / "other/target.parquet", pa.table({"document_id": documents[:2]}))
    assert run(made, tmp_path / "d", excluded=[tmp_path / "target", tmp_path / "other"])["excluded_documents"] == 3
    write_table(tmp_path / "all/target.parquet", pa.table({"document_id": documents}))
    with pytest.raises(StageError, match=f"no token to predict without the {len(documents)} documents of the target"):
        run(made, tmp_path / "c", excluded=tmp_path / "all")


def test_parts_and_sets_have_the_figures_of_their_sequences(made: tuple[Path, Path], tmp_path: Path) -> None:
    held = read(made[0], "heldout")
    domain = held["domain"][0].as_py()
    some = [*dict.fromkeys(held["document_id"].to_pylist())][:3]
    ids = str(tmp_path / "ids.txt")
    Path(ids).write_text("\n".join([*some, "train.jsonl:7"]))
    sets = {"first": {"documents": ids}, "both": {"domains": [domain], "documents": ids}}
    whole = run(made, tmp_path / "a", sets=sets)
    table = pq.read_table(tmp_path / "a" / "sequences.parquet")
    measured = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert whole["named_documents_not_held_out"] == 2  # one of each set
    for name, domains in (("first", {*held["domain"].to_pylist()}), ("both", {domain})):
        mask = [row["document_id"] in some and row["domain"] in domains for row in table.to_pylist()]
        assert [name in each for each in table["sets"].to_pylist()] == mask
        rows = table.filter(pa.array(mask))
        nats = sum(rows["nll_nats"].to_pylist()) / sum(rows["num_tokens"].to_pylist())
        assert measured["sets"][name]["nats_per_token"] == pytest.approx(nats)
        assert whole[f"{name}: perplexity"] == measured["sets"][name]["perplexity"]
    alone = run(made, tmp_path / "b", domains=[domain])
    part = pq.read_table(tmp_path / "b" / "sequences.parquet")
    assert {*part["domain"].to_pylist()} == {domain}
    assert alone["nats_per_token"] == pytest.approx(measured["domains"][domain]["nats_per_token"], rel=1e-6)
    few = run(made, tmp_path / "c", documents=ids)
    assert few["perplexity"] == pytest.approx(measured["sets"]["first"]["perplexity"], rel=1e-5)
    with pytest.raises(StageError, match=r"evaluation\.sets\.\S+ has the name of a domain"):
        run(made, tmp_path / "d", sets={domain: {"documents": ids}})


def test_sets_of_the_corpus_are_left_out_where_it_holds_out_no_such_text(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    domain = read(made[0], "heldout")["domain"][0].as_py()
    brought = {"its": {"domains": [domain]}, "absent": {"domains": ["nowhere"]}, "mine": {"domains": ["nowhere"]}}
    counts = run(made, tmp_path / "a", corpus_sets=brought, sets={"mine": {"domains": [domain]}})
    measured = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert measured["sets"].keys() == {"its", "mine"}
    (tmp_path / "ids.txt").write_text("a")
    with pytest.raises(StageError, match=r"corpus\.sets\.some\.documents: sets of a corpus have domains alone"):
        run(made, tmp_path / "b", corpus_sets={"some": {"documents": str(tmp_path / "ids.txt")}})
    with pytest.raises(StageError, match=r"corpus\.sets\.\S+ has the name of a domain"):
        run(made, tmp_path / "c", corpus_sets={domain: {"domains": [domain]}})
    assert counts["corpus_sets_without_text"] == 1  # "mine" is the user's
    assert measured["sets"]["its"]["nats_per_token"] == pytest.approx(measured["domains"][domain]["nats_per_token"])


def altered(made: tuple[Path, Path], folder: Path, column: str, values: object) -> Path:
    """The corpus with one column of its held-out shard replaced."""
    shutil.copytree(made[0], folder)
    table = read(folder, "heldout")
    place = table.schema.get_field_index(column)
    changed = table.set_column(place, column, pa.array(values, table.schema.field(place).type))
    write_table(folder / "heldout" / "00000.parquet", changed)
    return folder


def test_a_sequence_beyond_the_context_is_an_error_that_says_so(made: tuple[Path, Path], tmp_path: Path) -> None:
    ids = read(made[0], "heldout")["input_ids"].to_pylist()
    ids[3] = ids[3] + [5] * PIECE
    long = altered(made, tmp_path / "long", "input_ids", ids)
    with pytest.raises(StageError, match=f"sequence_length={PIECE}"):
        run((long, made[1]), tmp_path / "out")


def test_a_sequence_of_no_tokens_costs_nothing(made: tuple[Path, Path], tmp_path: Path) -> None:
    ids = read(made[0], "heldout")["input_ids"].to_pylist()
    ids[2] = []
    run((altered(made, tmp_path / "empty", "input_ids", ids), made[1]), tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "sequences.parquet")["nll_nats"][2].as_py() == 0.0


def test_nothing_held_out_is_an_error(made: tuple[Path, Path], tmp_path: Path) -> None:
    empty = altered(made, tmp_path / "empty", "input_ids", [[]] * len(read(made[0], "heldout")))
    with pytest.raises(StageError, match="no token to predict"):
        run((empty, made[1]), tmp_path / "out")


def test_another_tokenizer_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(made[1], tmp_path / "lm")
    file = tmp_path / "lm" / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    one, other = list(vocabulary)[100:102]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    file.write_text(json.dumps(content))
    with pytest.raises(StageError, match="another tokenizer"):
        run((made[0], tmp_path / "lm"), tmp_path / "out")


def test_a_diverged_model_is_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(made[1])
    # finite on the first ids, which the check of the architecture reads, and not on later ones
    network.get_input_embeddings().weight.data[50:] = torch.nan
    shutil.copytree(made[1], tmp_path / "lm")
    network.save_pretrained(tmp_path / "lm")
    with pytest.raises(StageError, match="not finite"):
        run((made[0], tmp_path / "lm"), tmp_path / "out")


def test_a_token_that_the_tokenizer_does_not_have_is_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    ids = read(made[0], "heldout")["input_ids"].to_pylist()
    ids[3][1] = 600
    strange = altered(made, tmp_path / "strange", "input_ids", ids)
    with pytest.raises(StageError, match=r"heldout has the token id 600, and the ids of its tokenizer end at 599"):
        run((strange, made[1]), tmp_path / "out")


def test_a_model_with_too_few_embeddings_is_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(made[1], tmp_path / "lm")
    network = AutoModelForCausalLM.from_pretrained(made[1])
    network.resize_token_embeddings(599)
    network.save_pretrained(tmp_path / "lm")
    with pytest.raises(
        StageError, match=r"lm: the ids of its tokenizer end at 599, and its network has 599 embeddings"
    ):
        run((made[0], tmp_path / "lm"), tmp_path / "out")
