"""Samples: what is in a batch, what has a target, what is drawn, what is left out."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from annotation_example import make_inputs, proxy_sequences

from qurating.lqs.samples import BadSamples, Samples, draw_batches
from qurating.runtime.errors import StageError


def some_samples(labels: list[list[int]] | None = None) -> Samples:
    columns = {"id": [70, 71, 72, 73], "document_id": ["a/1", "b/2", "b/2", "c/3"]}
    table = pa.table(columns | {"input_ids": pa.array([[4, 5, 6], [7], [8, 9], [1, 2, 3, 4, 5]], pa.list_(pa.int32()))})
    if labels is not None:
        table = table.append_column("labels", pa.array(labels, pa.list_(pa.int32())))
    return Samples("proxy sequence", table)


def test_a_batch_is_padded_on_the_right() -> None:
    batch = some_samples().batch([2, 0])
    assert batch["input_ids"].tolist() == [[8, 9, 0], [4, 5, 6]]
    assert batch["labels"].tolist() == [[8, 9, -100], [4, 5, 6]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    labelled = some_samples([[-100, 5, 6], [7], [-100, 9], [-100, -100, 3, -100, 5]]).batch([3, 2])
    assert labelled["labels"].tolist() == [[-100, -100, 3, -100, 5], [-100, 9, -100, -100, -100]]
    assert labelled["input_ids"].tolist() == [[1, 2, 3, 4, 5], [8, 9, 0, 0, 0]]


def test_real_sequences_come_back_from_their_batches(tmp_path: Path) -> None:
    rows = proxy_sequences(make_inputs(tmp_path))
    # in several chunks, as a table of several shards is
    parts = [pa.Table.from_pylist(rows[:7]), pa.Table.from_pylist(rows[7:])]
    samples = Samples("proxy sequence", pa.concat_tables(parts))
    groups = samples.grouped(range(len(rows)), 5)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(rows)))
    assert [len(group) for group in groups] == [5, 5, 5, 3]
    longest = [max(rows[i]["length"] for i in group) for group in groups]
    assert longest == sorted(longest)
    for group in groups:
        batch = samples.batch(group)
        for ids, mask, index in zip(batch["input_ids"], batch["attention_mask"], group, strict=True):
            assert ids[mask.bool()].tolist() == rows[index]["input_ids"]
    assert samples.name(8) == f"proxy sequence {rows[8]['id']} of document {rows[8]['document_id']!r}"


def test_the_first_token_alone_is_no_target() -> None:
    assert some_samples().has_target().tolist() == [True, False, True, True]
    masked = some_samples([[4, -100, -100], [7], [-100, 9], [-100] * 5])
    assert masked.has_target().tolist() == [False, False, True, False]


def test_batches_are_permutations_one_after_another() -> None:
    candidates = np.array([3, 5, 8, 13, 21])
    drawn = draw_batches(candidates, num_steps=4, batch_size=4, seed=1)
    assert drawn.shape == (4, 4)
    flat = drawn.ravel().tolist()
    for epoch in range(3):
        assert sorted(flat[5 * epoch : 5 * epoch + 5]) == candidates.tolist()
    assert flat[15] in candidates
    assert drawn.tolist() == draw_batches(candidates, 4, 4, seed=1).tolist()
    assert drawn.tolist() != draw_batches(candidates, 4, 4, seed=2).tolist()
    # a longer training begins like a shorter one
    assert draw_batches(candidates, 9, 4, seed=1)[:4].tolist() == drawn.tolist()


def test_bad_samples_stop_or_are_left_out(tmp_path: Path) -> None:
    samples = some_samples()
    with pytest.raises(
        StageError,
        match=r"proxy sequence 72 of document 'b/2': it is empty. To leave .*, set annotation.on_bad_sample=skip$",
    ):
        BadSamples(tmp_path, "stop").refuse(samples, [2, 1], "it is empty")
    bad = BadSamples(tmp_path, "skip")
    bad.write(tmp_path / "left_out.jsonl")
    assert not (tmp_path / "left_out.jsonl").exists()
    bad.refuse(samples, [2, 1], "it is empty")
    bad.refuse(samples, [2], "another reason")
    BadSamples(tmp_path, "stop").refuse(samples, [], "nothing")
    assert [row["index"] for row in bad.left_out()] == [1, 2]
    bad.write(tmp_path / "left_out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "left_out.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = {"kind": "proxy sequence", "reason": "it is empty"}
    assert lines == [expected | {"id": 71, "document_id": "b/2"}, expected | {"id": 72, "document_id": "b/2"}]
