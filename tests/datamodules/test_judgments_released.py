"""Released judgments and ours load alike."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from judge_fixtures import CRITERIA, real_corpus
from judge_stage import run, settings
from transformers import PreTrainedTokenizerFast

from qurating.datamodules.judgments import Judgments


def released(folder: Path, corpus: Path) -> None:
    """A small file in the schema of the released 250K judgments: votes of 20, −100 where there is none."""
    texts = [text for text in pq.read_table(corpus / "train" / "00000.parquet")["text"].to_pylist() if len(text) > 600]
    draw = np.random.default_rng(0)
    rows = []
    for k in range(0, 24, 2):
        row: dict[str, object] = {"texts": [texts[k][:400], texts[k + 1][:400]], "indices": [10**6 + k, 10**6 + k + 1]}
        for name in CRITERIA:
            votes_b = draw.integers(0, 21, 2)
            p = (votes_b[0] / 20 + 1 - votes_b[1] / 20) / 2
            row[f"{name}_votes_a"] = [[-100, int(20 - votes_b[0])], [int(20 - votes_b[1]), -100]]
            row[f"{name}_votes_b"] = [[-100, int(votes_b[0])], [int(votes_b[1]), -100]]
            row[f"{name}_average"] = [[-100.0, p], [1 - p, -100.0]] if k else [[-100.0, -100.0], [-100.0, -100.0]]
        rows.append(row)
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "judgments.parquet")


def test_released_judgments_and_ours_load_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the released schema has, ours has, with the same nesting; the rater's data module reads both."""
    monkeypatch.setattr(
        "qurating.reports.style.save", lambda figure, path: path.parent.mkdir(exist_ok=True) or "<svg/>"
    )
    corpus = real_corpus(tmp_path / "c")
    run(tmp_path / "ours", corpus, settings(num_pairs=12))
    released(tmp_path / "released", corpus)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(corpus / "tokenizer" / "tokenizer.json"), eos_token="<|endoftext|>"
    )
    tables = {name: pq.read_table(tmp_path / name / "judgments.parquet") for name in ("ours", "released")}
    for field in tables["released"].schema:
        ours = tables["ours"].schema.field(field.name).type
        while pa.types.is_list(field.type):
            assert pa.types.is_list(ours), field.name
            field, ours = field.with_type(field.type.value_type), ours.value_type
        assert pa.types.is_list(ours) is False
    for name, table in tables.items():
        if "domains" not in table.column_names:  # the released file has none: an empty name stands for it
            table = table.append_column("domains", pa.array([["", ""]] * len(table), pa.list_(pa.string())))
            pq.write_table(table, tmp_path / name / "judgments.parquet")
        loaded = Judgments(
            tmp_path / name,
            tokenizer,
            list(CRITERIA),
            minimum_confidence=0.0,
            label_temperature=1.0,
            max_tokens=512,
            batch_size_pairs=4,
            tokens_per_micro_batch=2400,
            num_epochs=1,
            validation_fraction=0.25,
            seed=0,
        )
        averages = [[a[0][1] for a in table[f"{c}_average"].to_pylist()] for c in CRITERIA]
        expected = np.where(np.array(averages).T < 0, np.nan, np.array(averages).T)
        np.testing.assert_allclose(loaded.judged_preference.numpy(), expected, atol=1e-6)
        assert loaded.batch(loaded.training[:2])["preference"].shape == (2, 4)
    whole = pa.concat_tables(
        [tables["ours"].select(tables["released"].column_names), tables["released"]], promote_options="permissive"
    )
    assert len(whole) == 24
