"""The rated rows that a report shows."""

from pathlib import Path

import numpy as np
import pytest
from analysis_example import METHODS
from sweep_example import CRITERIA, read, sweep

from qurating.reports.rated_rows import excerpts, rank_correlations, read_rated_rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Path]], Path]:
    root = tmp_path_factory.mktemp("sweep")
    return sweep(root, METHODS), root


def test_rows_are_read_evenly_and_excerpts_stand_at_their_percentiles(made: tuple[list[dict[str, Path]], Path]) -> None:
    cell = made[0][1]
    texts = read(cell["prepare_corpus"])
    every = read_rated_rows(cell["prepare_corpus"], cell["rate"], 10**6)
    some = read_rated_rows(cell["prepare_corpus"], cell["rate"], 100)
    stride = -(-len(texts) // 100)
    assert some.ids.tolist() == texts["id"].to_pylist()[::stride]
    assert every.ids.tolist() == texts["id"].to_pylist()
    assert every.num_rows == some.num_rows == len(texts)
    by_id = dict(zip(texts["id"].to_pylist(), texts["text"].to_pylist(), strict=True))
    for item in excerpts(cell["prepare_corpus"], every, CRITERIA[1], (5, 95), 40):
        below = (every.ratings[CRITERIA[1]] < item["rating"]).mean()
        assert below == pytest.approx(item["percentile"] / 100, abs=0.005)
        (index,) = np.flatnonzero(every.ratings[CRITERIA[1]] == item["rating"])
        assert by_id[every.ids[index]][:40] == item["text"]


def test_rank_correlations_are_spearmans() -> None:
    a = np.array([1.0, 2.0, 2.0, 5.0])
    got = rank_correlations({"a": a, "b": np.exp(a), "c": -a, "d": np.zeros(4), "e": np.array([1, 4, 2, 3])})
    assert got[0, :3].tolist() == pytest.approx([1, 1, -1])
    assert np.isnan(got[0, 3])
    assert got[0, 4] == pytest.approx(np.corrcoef([0, 1.5, 1.5, 3], [0, 3, 1, 2])[0, 1])
