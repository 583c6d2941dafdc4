"""Ratings found by id, against a dictionary."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qurating.corpus.hashing import as_ids
from qurating.rating.matching import Matcher
from qurating.rating.tables import layout_of
from qurating.runtime.errors import StageError


def test_as_a_dictionary_finds_them(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    ids = draw.permutation(np.arange(-500, 500)) * 2
    counts = draw.integers(0, 4, 1000)
    values = draw.normal(size=(1000, 2))
    lists = [list(map(float, draw.normal(size=n))) for n in counts]
    table = pa.table(
        {
            "id": ids,
            "a_average": values[:, 0],
            "b_average": values[:, 1],
            "chunk_lengths": [[*range(n)] for n in counts],
            "a_chunks": lists,
            "b_chunks": [each[::-1] for each in lists],
        }
    )
    files = []
    for number in range(3):
        part = table.slice(number * 400, 400)
        pq.write_table(part, tmp_path / f"{number}.parquet", row_group_size=77)
        files.append((tmp_path / f"{number}.parquet", str(number)))
    matcher = Matcher(files, layout_of(files[0][0]), tmp_path / "scratch")
    by_id = {int(i): place for place, i in enumerate(ids)}
    used: set[int] = set()
    for _ in range(20):
        asked = draw.integers(-1100, 1100, 50)
        found = matcher.find(as_ids(asked))
        assert found.windows is not None
        start = 0
        for row, i in enumerate(asked.tolist()):
            place = by_id.get(i)
            assert found.is_there[row] == (place is not None)
            end = start + int(found.windows.counts[row])
            own = found.windows.values[start:end].T.tolist()
            assert own == [lists[place], lists[place][::-1]] if place is not None and lists[place] else start == end
            assert found.windows.lengths[start:end].tolist() == [*range(end - start)]
            if place is not None:
                used.add(i)
                assert found.averages[row].tolist() == values[place].tolist()
                assert end - start == counts[place]
            start = end
        assert start == len(found.windows.values)
    others = draw.integers(-1100, 1100, 200)
    new = {int(i) for i in others if int(i) in by_id} - used
    assert matcher.use(as_ids(others)) == len(new)
    assert matcher.use(as_ids(others)) == 0
    left = [place for i, place in by_id.items() if i not in used | new]
    assert matcher.surplus() == (
        len(left),
        f"{tmp_path / str(min(left) // 400)}.parquet, row {min(left) % 400}",
    )
    matcher.close()
    assert not (tmp_path / "scratch").exists()


def test_files_without_a_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([], pa.int64()), "s": pa.array([], pa.float64())}), tmp_path / "s.parquet")
    with pytest.raises(StageError, match=r"no rating in .*s\.parquet"):
        Matcher([(tmp_path / "s.parquet", "s")], layout_of(tmp_path / "s.parquet"), tmp_path / "scratch")
