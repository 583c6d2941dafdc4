"""The first window of a document against its mean."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rated_example import NUM_ROWS, on_disk

from qurating.analysis.first_window import first_and_mean, first_window
from qurating.analysis.rated import Rated, read_rated
from qurating.artifacts.files import write_table


def test_the_first_window_is_that_of_the_first_sequence() -> None:
    """Three documents: one of two sequences in reverse order, one of a single window, one of two windows."""
    values = np.array([5.0, 1.0, 3.0, 7.0, 2.0, 4.0])
    lengths = np.array([10, 10, 20, 10, 30, 10])
    num_windows = np.array([1, 2, 1, 2])  # of four sequences
    first, mean = first_and_mean(values, lengths, num_windows, np.array([0, 0, 1, 2]), np.array([1, 0, 0, 0]))
    assert first.tolist() == [1.0, 2.0]
    assert mean.tolist() == [(5 * 10 + 1 * 10 + 3 * 20) / 40, (2 * 30 + 4 * 10) / 40]


def test_documents_with_a_bad_window_or_none_are_left_out() -> None:
    values, num_windows = np.array([1.0, np.nan, 3.0, 5.0]), np.array([2, 0, 2])
    first, mean = first_and_mean(values, np.ones(4, int), num_windows, np.array([0, 1, 2]), np.zeros(3, int))
    assert (first.tolist(), mean.tolist()) == ([3.0], [4.0])


def read(made: dict[str, Path], max_sequences: int = 1000) -> Rated:
    given = [made["r"], made["s"]]
    return read_rated(made["c"], given, domain_column="domain", label_columns=[], max_sequences=max_sequences)


def test_the_table_is_that_of_a_loop_over_documents(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    table, stride = first_window(read(made), made["c"])
    assert stride == 1
    rows = [pq.read_table(file).to_pylist() for file in sorted((made["r"] / "train").iterdir())]
    flat = [row for part in rows for row in part]
    firsts, means = [], []
    for one, two in zip(flat[::2], flat[1::2], strict=True):
        weights = one["chunk_lengths"] + two["chunk_lengths"]
        firsts.append(one["style_chunks"][0])
        means.append(np.average(one["style_chunks"] + two["style_chunks"], weights=weights))
    found = {row["criterion"]: row for row in table.to_pylist()}
    assert found["style"]["num_documents"] == NUM_ROWS // 2
    assert found["style"]["pearson"] == pytest.approx(np.corrcoef(firsts, means)[0, 1])
    sd = np.std([row["style_average"] for row in flat])
    distance = np.abs(np.subtract(firsts, means)).mean() / sd
    assert found["style"]["mean_absolute_difference_sd"] == pytest.approx(distance)
    assert set(found) == {"style", "facts", "lqs"}


def test_ratings_without_windows_have_no_numbers(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    for file in (made["s"] / "train").iterdir():
        write_table(file, pq.read_table(file, columns=["id", "length", "lqs_average"]))
    table, _ = first_window(read(made), made["c"])
    (lqs,) = [row for row in table.to_pylist() if row["criterion"] == "lqs"]
    assert lqs == {"criterion": "lqs", "num_documents": 0, "pearson": None, "mean_absolute_difference_sd": None}


def test_of_a_sample_every_so_many_shards_are_read(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    table, stride = first_window(read(made, max_sequences=120), made["c"])
    assert stride == 2
    assert table["num_documents"].to_pylist() == [80] * 3  # two of three shards
