"""Reading a rated corpus: samples, groups, several artifacts of ratings, subsets."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rated_example import DOMAINS, NUM_ROWS, on_disk, subset

from qurating.analysis import rated as module
from qurating.analysis.rated import OTHERS, Groups, Rated, every, largest, members_of, read_rated, stride_for
from qurating.artifacts.files import write_table
from qurating.runtime.errors import StageError


def read(made: dict[str, Path], **changes: Any) -> Rated:
    settings: dict[str, Any] = {"ratings": [made["r"], made["s"]], "domain_column": "domain", "label_columns": []}
    return read_rated(made["c"], **(settings | {"max_sequences": 1000} | changes))


def column(folder: Path, name: str) -> list[Any]:
    return [value for file in sorted((folder / "train").iterdir()) for value in pq.read_table(file)[name].to_pylist()]


def test_all_columns_are_those_of_the_shards(tmp_path: Path) -> None:
    made = on_disk(tmp_path, lang=["en" if row % 5 else None for row in range(NUM_ROWS)])
    found = read(made, label_columns=["lang"])
    assert found.ids.tolist() == column(made["c"], "id")
    assert found.lengths.tolist() == column(made["c"], "length")
    assert [found.groups["domain"].names[code] for code in found.groups["domain"].codes] == column(made["c"], "domain")
    assert set(found.groups["domain"].names) == set(DOMAINS)
    langs = [found.groups["lang"].names[code] for code in found.groups["lang"].codes]
    assert langs == [value or "none" for value in column(made["c"], "lang")]
    assert {name: values.tolist() for name, values in found.ratings.items()} == {
        "style": column(made["r"], "style_average"),
        "facts": column(made["r"], "facts_average"),
        "lqs": column(made["s"], "lqs_average"),
    }
    assert found.sources["lqs"] == (made["s"], "lqs")
    assert found.sampling() == "all sequences"


def test_a_large_corpus_is_sampled_evenly(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    found, whole = read(made, max_sequences=50), read(made)
    assert found.stride == 5
    assert found.positions.tolist() == list(range(0, NUM_ROWS, 5))
    np.testing.assert_array_equal(found.ids, whole.ids[::5])
    np.testing.assert_array_equal(found.ratings["lqs"], whole.ratings["lqs"][::5])
    np.testing.assert_array_equal(found.groups["domain"].codes, whole.groups["domain"].codes[::5])
    assert found.sampling() == "every 5th sequence"
    mask = members_of(found, made["a"], made["c"])
    np.testing.assert_array_equal(mask, members_of(whole, made["a"], made["c"])[::5])


def test_some_sequences_are_found_by_their_ids(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    whole = read(made)
    found = read(made, max_sequences=1, only=np.array([1200, -5, 1003, 1003]))
    assert found.ids.tolist() == [1003, 1200]
    np.testing.assert_array_equal(found.ratings["style"], whole.ratings["style"][[3, 200]])
    assert len(read(made, only=np.empty(0, np.int64)).ids) == 0


def test_a_criterion_of_two_artifacts_keeps_both(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    other = on_disk(tmp_path / "again", seed=1)
    found = read(made, ratings=[made["r"], other["r"].rename(tmp_path / "q"), made["r"]])
    assert list(found.ratings) == ["style", "facts", "style@q", "facts@q"]
    assert found.sources["style@q"].criterion == "style"


def test_a_subset_is_a_mask_and_of_this_corpus(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    found = read(made)
    mask = members_of(found, made["a"], made["c"])
    assert np.flatnonzero(mask).tolist() == list(range(0, NUM_ROWS, 3))
    subset(tmp_path / "other", np.array([5, 6]), found.lengths.astype(np.int32))
    index = pq.read_table(tmp_path / "other/subset.parquet")
    write_table(tmp_path / "other/subset.parquet", index.set_column(0, "id", pa.array([1005, 1007])))
    with pytest.raises(StageError, match=r"other was selected from another corpus than .*: it has other ids"):
        members_of(found, tmp_path / "other", made["c"])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    with pytest.raises(StageError, match="no ratings of this corpus are complete: make them first"):
        read(made, ratings=[])
    with pytest.raises(StageError, match=r"has no column lang; it has id, document_id, position, domain, text, length"):
        read(made, label_columns=["lang"])
    with pytest.raises(StageError, match="domain is the name of another grouping, or is given twice"):
        read(made, label_columns=["domain"])
    write_table(made["s"] / "train/00000.parquet", pa.table({"id": [1], "length": [1], "lqs_average": [0.0]}))
    with pytest.raises(StageError, match="the ratings do not match the corpus"):
        read(made)
    with pytest.raises(StageError, match="has no ratings: no column ends in _average"):
        read(made, ratings=[made["c"]])


def test_values_beyond_the_largest_are_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUPS", 2)
    groups = Groups(np.array([0, 1, 2, 3, 3], np.int32), ["a", "b", "c", "d"])
    found = largest(groups, np.array([9, 1, 3, 2, 2]))
    assert [found.names[code] for code in found.codes] == ["a", OTHERS, OTHERS, "d", "d"]
    assert largest(found.at(slice(0, 1))._replace(names=["a", "b"]), np.array([9])).names == ["a", "b"]


def test_samples_in_words() -> None:
    assert [every(k) for k in (1, 2, 3, 11, 21, 1012)] == [
        "all sequences",
        "every 2nd sequence",
        "every 3rd sequence",
        "every 11th sequence",
        "every 21st sequence",
        "every 1,012th sequence",
    ]
    assert [stride_for(count, 10) for count in (0, 10, 11, 21)] == [1, 1, 2, 3]
