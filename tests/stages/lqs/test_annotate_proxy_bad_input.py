"""An annotation of what it cannot use: bad samples stop it or are left out; everything else is explained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from annotation_example import VOCABULARY, SlowLoop, annotate, language_model, make_inputs, proxy_sequences
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from qurating.lqs import gradient_passes
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def inputs(shared: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """A copy, to be damaged."""
    shutil.copytree(shared["corpus"].parent, tmp_path / "inputs")
    return {name: tmp_path / "inputs" / path.name for name, path in shared.items()}


def change_rows(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = pq.read_table(file)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)


def poison(inputs: dict[str, Path], *, proxy: set[int] = frozenset(), target: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Let samples end in a token that nothing else has, and whose embedding is not a number."""
    used = {token for row in proxy_sequences(inputs) for token in row["input_ids"]}
    used |= {
        token for ids in pq.read_table(inputs["target"] / "target.parquet")["input_ids"].to_pylist() for token in ids
    }
    token = max(set(range(VOCABULARY)) - used)

    def change(row: dict[str, Any]) -> None:
        if row.get("id") in proxy or row["document_id"] in target:
            row["input_ids"] = [*row["input_ids"][:-2], token, row["input_ids"][-1]]

    for file in [*(inputs["corpus"] / "train").glob("*.parquet"), inputs["target"] / "target.parquet"]:
        change_rows(file, change)
    model = AutoModelForCausalLM.from_pretrained(inputs["proxy_lm"])
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    model.save_pretrained(inputs["proxy_lm"])


def left_out(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "left_out.jsonl").read_text(encoding="utf-8").splitlines()]


def test_samples_that_are_not_finite_are_named_or_left_out(inputs: dict[str, Path], tmp_path: Path) -> None:
    bad = [row for row in proxy_sequences(inputs) if row["length"] > 3][2:5]
    poison(inputs, proxy={row["id"] for row in bad})
    names = "|".join(f"proxy sequence {row['id']} of document '{row['document_id']}'" for row in bad)
    with pytest.raises(
        StageError, match=rf"({names}): its loss or gradient is not finite at step \d.*on_bad_sample=skip goes on"
    ):
        annotate(tmp_path / "stopped", inputs)
    counts = annotate(tmp_path / "skipped", inputs, on_bad_sample="skip")
    assert counts["left_out"] == 3
    assert counts["sequences"] == 15
    found = left_out(tmp_path / "skipped")
    assert [(row["id"], row["document_id"]) for row in found] == [(row["id"], row["document_id"]) for row in bad]
    assert all("not finite at step" in row["reason"] for row in found)
    # they are in no batch either: neither in the training nor in its Hessian
    slow = SlowLoop(inputs, left_out=frozenset(row["id"] for row in bad))
    rows = pq.read_table(tmp_path / "skipped/annotation.parquet").to_pylist()
    kept = [n for n in range(18) if slow.proxy[n]["id"] not in {row["id"] for row in bad}]
    assert [row["id"] for row in rows] == [slow.proxy[n]["id"] for n in kept]
    expected = np.array([slow.score(n, 2, "next_visited") for n in kept[::3]])
    assert [row["lqs"] for row in rows[::3]] == pytest.approx(expected, rel=2e-4, abs=2e-4 * expected.std())


def test_what_was_stopped_goes_on_without_the_sample(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The work that was done until then is kept, and the result is that of a run that skipped from the beginning."""
    bad = next(row["id"] for row in proxy_sequences(inputs) if row["length"] > 3)
    poison(inputs, proxy={bad})
    with pytest.raises(StageError, match="is not finite"):
        annotate(tmp_path / "a", inputs)
    annotate(tmp_path / "a", inputs, on_bad_sample="skip")
    annotate(tmp_path / "b", inputs, on_bad_sample="skip")
    for name in ("annotation.parquet", "left_out.jsonl", "trajectory.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_target_example_that_is_not_finite_is_named_or_left_out(inputs: dict[str, Path], tmp_path: Path) -> None:
    rows = pq.read_table(inputs["target"] / "target.parquet").to_pylist()
    bad = next(row["document_id"] for row in rows if len(row["input_ids"]) > 5)
    poison(inputs, target={bad})
    with pytest.raises(StageError, match=f"target example of document '{bad}': its loss or gradient is not finite at"):
        annotate(tmp_path / "stopped", inputs)
    counts = annotate(tmp_path / "skipped", inputs, on_bad_sample="skip")
    assert (counts["left_out"], counts["sequences"]) == (1, 18)
    assert [row["document_id"] for row in left_out(tmp_path / "skipped")] == [bad]
    remaining = pa.Table.from_pylist([row for row in rows if row["document_id"] != bad])
    pq.write_table(remaining, inputs["target"] / "target.parquet")
    slow = SlowLoop(inputs)
    found = pq.read_table(tmp_path / "skipped/annotation.parquet")["lqs"].to_numpy()[::4]
    expected = np.array([slow.score(n, 2, "next_visited") for n in range(0, 18, 4)])
    assert found == pytest.approx(expected, rel=2e-4, abs=2e-4 * expected.std())


def test_a_sequence_of_one_token_has_no_score(inputs: dict[str, Path], tmp_path: Path) -> None:
    bad = proxy_sequences(inputs)[4]["id"]

    def cut(row: dict[str, Any]) -> None:
        if row["id"] == bad:
            row["input_ids"] = row["input_ids"][:1]

    for file in (inputs["corpus"] / "train").glob("*.parquet"):
        change_rows(file, cut)
    with pytest.raises(StageError, match=f"proxy sequence {bad} of .*: it has no token to predict"):
        annotate(tmp_path / "stopped", inputs)
    annotate(tmp_path / "skipped", inputs, on_bad_sample="skip")
    assert [row["id"] for row in left_out(tmp_path / "skipped")] == [bad]
    ids = pq.read_table(tmp_path / "skipped/annotation.parquet")["id"].to_pylist()
    assert ids == [row["id"] for row in proxy_sequences(inputs) if row["id"] != bad]


def test_a_gradient_of_zero_divides_nothing(
    shared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = proxy_sequences(shared)[7]
    real = gradient_passes.norms_and_dots

    def vanishing(model: Any, batch: Any, direction: Any, **settings: Any) -> Any:
        norms, dots = real(model, batch, direction, **settings)
        for n, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True)):
            if ids[mask.bool()].tolist() == bad["input_ids"]:
                norms[n] = dots[n] = 0.0
        return norms, dots

    monkeypatch.setattr(gradient_passes, "norms_and_dots", vanishing)
    with pytest.raises(StageError, match=f"proxy sequence {bad['id']} of .*: its gradient is zero at step 6"):
        annotate(tmp_path / "stopped", shared)
    annotate(tmp_path / "skipped", shared, on_bad_sample="skip")
    assert bad["id"] in [row["id"] for row in left_out(tmp_path / "skipped")]
    assert np.isfinite(pq.read_table(tmp_path / "skipped/annotation.parquet")["lqs"].to_numpy()).all()


@pytest.mark.parametrize("on_bad_sample", ["stop", "skip"])
def test_a_training_that_diverges_blames_no_sample(shared: dict[str, Path], tmp_path: Path, on_bad_sample: str) -> None:
    with pytest.raises(StageError, match=r"at step \d: lower annotation.learning_rate"):
        annotate(tmp_path, shared, learning_rate=1e30, on_bad_sample=on_bad_sample)


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_too_little_memory_says_what_to_lower(
    shared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def greedy(*_: Any, **__: Any) -> Any:
        if kind == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 70.00 GiB.")
        return torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(gradient_passes, "norms_and_dots", greedy)
    with pytest.raises(
        StageError,
        match=r"out of memory .*annotation.micro_batch_size \(now 8\), or set annotation.layer_checkpointing",
    ):
        annotate(tmp_path, shared)


def test_another_failure_is_not_taken_for_memory(
    shared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes that do not fit")

    monkeypatch.setattr(gradient_passes, "norms_and_dots", broken)
    with pytest.raises(RuntimeError, match="shapes that do not fit"):
        annotate(tmp_path, shared)


def test_a_network_without_rules_is_refused_before_its_training(inputs: dict[str, Path], tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, "intermediate_size": 32, "time_step_rank": 2}
    language_model("mamba", **sizes).save_pretrained(inputs["proxy_lm"])
    with pytest.raises(StageError, match=r"\(mamba\): .*Llama, Mistral, .* or XGLM \(annotation.model\)"):
        annotate(tmp_path / "out", inputs)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_another_tokenizer_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["other words"], vocab_size=VOCABULARY)
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer).save_pretrained(inputs["proxy_lm"])
    with pytest.raises(StageError, match=r"has another tokenizer than .*: set corpus.tokenizer="):
        annotate(tmp_path / "out", inputs)


def test_a_model_that_is_not_there_is_explained(shared: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"there is no proxy model: set annotation\.model"):
        annotate(tmp_path, shared | {"proxy_lm": None})
    with pytest.raises(StageError, match=r"cannot be loaded: (.|\n)*HF_TOKEN"):
        annotate(tmp_path, shared | {"proxy_lm": tmp_path / "nothing"})


def test_a_set_that_does_not_fit_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    file = inputs["target"] / "target.parquet"
    whole = pq.read_table(file)
    pq.write_table(whole.slice(0, 0), file)
    with pytest.raises(StageError, match="there is no target example"):
        annotate(tmp_path / "a", inputs)
    long = pa.Table.from_pylist(
        [row | {"input_ids": [5] * 33, "labels": [5] * 33} for row in whole.to_pylist()[:1]], whole.schema
    )
    pq.write_table(pa.concat_tables([whole, long]), file)
    with pytest.raises(StageError, match=r"target/\d+' has 33 tokens, and the proxy model's context is 32: shorten"):
        annotate(tmp_path / "b", inputs)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("denominator", "first", "annotation.denominator=first is none of next_visited, next_step, same_step, none"),
        ("hessian", "yes", "annotation.hessian=yes is none of exact, finite_differences, none"),
        ("trajectory", "disk", "annotation.trajectory=disk is none of keep, bf16_differences, recompute"),
        ("precision", "16-mixed", "annotation.precision=16-mixed is none of 32-true, bf16-mixed"),
        ("on_bad_sample", "go", "annotation.on_bad_sample=go is none of stop, skip"),
        ("contribution_interval", 6, "visits none of the steps 1 to 5: lower annotation.contribution_interval"),
        ("contribution_interval", 0, "visits none of the steps 1 to 5: lower annotation.contribution_interval"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    shared: dict[str, Path], tmp_path: Path, setting: str, value: Any, message: str
) -> None:
    with pytest.raises(StageError, match=message):
        annotate(tmp_path, shared, **{setting: value})
