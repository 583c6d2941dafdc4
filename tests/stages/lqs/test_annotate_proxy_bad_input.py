"""An annotation of samples that it cannot use: they stop it, or are left out."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_example import SlowLoop, annotate, make_inputs, proxy_sequences
from bad_samples import change_rows, left_out, poison

from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def inputs(shared: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """A copy, to be damaged."""
    shutil.copytree(shared["corpus"].parent, tmp_path / "inputs")
    return {name: tmp_path / "inputs" / path.name for name, path in shared.items()}


def test_samples_that_are_not_finite_are_named_or_left_out(inputs: dict[str, Path], tmp_path: Path) -> None:
    bad = [row for row in proxy_sequences(inputs) if row["length"] > 3][2:5]
    poison(inputs, proxy={row["id"] for row in bad})
    names = "|".join(f"proxy sequence {row['id']} of document '{row['document_id']}'" for row in bad)
    with pytest.raises(
        StageError,
        match=rf"({names}): its loss or gradient is not finite at step \d.*, set annotation.on_bad_sample=skip$",
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


def test_a_set_that_does_not_fit_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    file = inputs["target"] / "target.parquet"
    whole = pq.read_table(file)
    pq.write_table(whole.slice(0, 0), file)
    with pytest.raises(StageError, match="no target example was found"):
        annotate(tmp_path / "a", inputs)
    long = pa.Table.from_pylist(
        [row | {"input_ids": [5] * 33, "labels": [5] * 33} for row in whole.to_pylist()[:1]], whole.schema
    )
    pq.write_table(pa.concat_tables([whole, long]), file)
    with pytest.raises(StageError, match=r"target/\d+' has 33 tokens, and the proxy model's context is 32: shorten"):
        annotate(tmp_path / "b", inputs)
