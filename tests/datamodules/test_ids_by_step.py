"""Each token of an order is read by the step that the table names, whatever the lengths and the batch."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from qurating.artifacts.files import write_table
from qurating.datamodules.ids_by_step import ids_by_step, write_ids_by_step


def order(folder: Path, lengths: list[int]) -> Path:
    offsets = np.cumsum([0, *lengths])[:-1]
    columns = {"id": [f"s{n}" for n in range(len(lengths))], "offset": offsets}
    write_table(folder / "order.parquet", pa.table({**columns, "length": pa.array(lengths, pa.int32())}))
    return folder


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=30), tokens_per_step=st.integers(1, 40))
def test_every_token_is_counted_once(tmp_path_factory, lengths: list[int], tokens_per_step: int) -> None:  # type: ignore[no-untyped-def]
    folder = order(tmp_path_factory.mktemp("order"), lengths)
    found = pa.concat_tables(ids_by_step(folder, tokens_per_step)).to_pylist()
    owner = [f"s{n}" for n, length in enumerate(lengths) for _ in range(length)]
    expected: dict[tuple[int, str], int] = {}
    for place, name in enumerate(owner):
        key = (place // tokens_per_step + 1, name)
        expected[key] = expected.get(key, 0) + 1
    assert [(row["step"], row["id"], row["tokens"]) for row in found] == [(*key, n) for key, n in expected.items()]


def test_the_file_is_what_the_rows_are(tmp_path: Path) -> None:
    folder = order(tmp_path, [3, 9, 2])
    write_ids_by_step(folder, 4, tmp_path / "ids.parquet")
    table = pq.read_table(tmp_path / "ids.parquet")
    assert table["step"].to_pylist() == [1, 1, 2, 3, 4]
    assert table["id"].to_pylist() == ["s0", "s1", "s1", "s1", "s2"]
    assert table["tokens"].to_pylist() == [3, 1, 4, 4, 2]
