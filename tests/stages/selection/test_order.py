"""Order as a stage: by the maths of each method, and by a column of the corpus."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selection_example import chosen, corpus_with_tokens, counts_of_ordered, ordered, rate_all, rows

from qurating.artifacts.seeds import seed_for
from qurating.runtime.errors import StageError
from qurating.selection import ordering


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_with_tokens(tmp_path / "corpus")


@pytest.mark.parametrize("method", ["shuffle", "sorting", "folding", "curriculum"])
def test_the_stage_orders_as_the_maths_orders(corpus: Path, tmp_path: Path, method: str) -> None:
    table = rows(corpus)
    scores = np.random.default_rng(0).normal(size=len(table))
    ratings = rate_all(corpus, tmp_path / "r", scores)
    subset = chosen(corpus, tmp_path / "s", ratings)
    found = ordered(corpus, tmp_path / "o", tmp_path / "s", ratings, method)
    ids, own = subset["id"].to_numpy(), subset["score"].to_numpy()
    seed = seed_for(5, "order", method)
    permutation = {
        "shuffle": lambda: ordering.shuffle(ids, seed),
        "sorting": lambda: ordering.sort(own, ids),
        "folding": lambda: ordering.fold(own, 3, ids),
        "curriculum": lambda: ordering.curriculum(own, ids, 1.0, seed, descending=False),
    }[method]()
    assert found["id"].to_numpy().tolist() == ids[permutation].tolist()
    by_id = dict(zip(table["id"].to_pylist(), table["input_ids"].to_pylist(), strict=True))
    stream = np.load(tmp_path / "o/tokens.npy")
    assert stream.tolist() == [token for sequence in found["id"].to_pylist() for token in by_id[sequence]]


def test_windows_are_for_folding(corpus: Path, tmp_path: Path) -> None:
    ratings = rate_all(corpus, tmp_path / "r", np.random.default_rng(0).normal(size=len(rows(corpus))))
    subset = chosen(corpus, tmp_path / "s", ratings)
    found = ordered(corpus, tmp_path / "o", tmp_path / "s", ratings, "folding", window=4)
    ids, own = subset["id"].to_numpy(), subset["score"].to_numpy()
    expected = ids[ordering.fold(own, 3, ids, window=4, seed=seed_for(5, "order", "folding"))]
    assert found["id"].to_numpy().tolist() == expected.tolist() != ids[ordering.fold(own, 3, ids)].tolist()
    with pytest.raises(StageError, match=r"ordering\.window is for folding, not for sorting"):
        ordered(corpus, tmp_path / "o", tmp_path / "s", ratings, "sorting", window=4)


def test_a_column_of_the_corpus_orders(corpus: Path, tmp_path: Path) -> None:
    ratings = rate_all(corpus, tmp_path / "r", np.random.default_rng(0).normal(size=len(rows(corpus))))
    subset = chosen(corpus, tmp_path / "s", ratings)
    given: dict[str, Any] = {"criterion": None, "column": "length"}
    found = ordered(corpus, tmp_path / "o", tmp_path / "s", None, "sorting", descending=True, **given)
    lengths = found["length"].to_pylist()
    assert lengths == sorted(subset["length"].to_pylist(), reverse=True)
    ids = subset["id"].to_numpy()
    folded = ordered(corpus, tmp_path / "f", tmp_path / "s", None, "folding", **given)
    expected = ids[ordering.fold(subset["length"].to_numpy(), 3, ids)]
    assert folded["id"].to_numpy().tolist() == expected.tolist()
    with pytest.raises(StageError, match=r"has no column lenght; it has id.*length"):
        ordered(corpus, tmp_path / "o", tmp_path / "s", None, "sorting", criterion=None, column="lenght")
    with pytest.raises(StageError, match="the column domain holds string: sequences are ordered by numbers"):
        ordered(corpus, tmp_path / "o", tmp_path / "s", None, "sorting", criterion=None, column="domain")


def test_a_number_that_came_along_orders(corpus: Path, tmp_path: Path) -> None:
    scores = dict(
        zip(rows(corpus)["id"].to_pylist(), np.random.default_rng(1).normal(size=len(rows(corpus))), strict=True)
    )
    originals = {file: pq.read_table(file) for file in (corpus / "train").glob("*.parquet")}
    chosen(corpus, tmp_path / "s", rate_all(corpus, tmp_path / "r", np.arange(len(scores), dtype=float)))

    def keep(value: Any, kind: pa.DataType) -> None:
        for file, table in originals.items():
            own = [value(scores[each]) for each in table["id"].to_pylist()]
            pq.write_table(table.append_column("meta.score", pa.array(own, kind)), file)

    given: dict[str, Any] = {"criterion": None, "column": "meta.score"}
    keep(float, pa.float64())
    found = ordered(corpus, tmp_path / "o", tmp_path / "s", None, "sorting", **given)
    own = [scores[each] for each in found["id"].to_pylist()]
    assert own == sorted(own)
    keep(lambda score: score if score > 0 else None, pa.float64())
    with pytest.raises(StageError, match=r"\d+ of \d+ sequences have no value in meta.score"):
        ordered(corpus, tmp_path / "o", tmp_path / "s", None, "sorting", **given)
    keep(str, pa.string())
    with pytest.raises(StageError, match=r"corpus\.keep_columns has meta\.score:number"):
        ordered(corpus, tmp_path / "o", tmp_path / "s", None, "sorting", **given)


def test_scores_that_order_nothing_are_told(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    num_rows = len(rows(corpus))
    constant = rate_all(corpus, tmp_path / "r", np.full(num_rows, 0.3))
    varied = rate_all(corpus, tmp_path / "v", np.random.default_rng(0).normal(size=num_rows))
    chosen(corpus, tmp_path / "s", varied)
    for ratings, method, expected in (
        (constant, "folding", ["constant scores"]),
        (constant, "curriculum", ["constant scores"]),
        (varied, "sorting", []),
        (constant, "shuffle", []),
    ):
        counts = counts_of_ordered(corpus, tmp_path / method, tmp_path / "s", ratings, method)
        assert counts.get("labels", []) == expected
        assert ("all scores are equal" in capsys.readouterr().out) == bool(expected)
