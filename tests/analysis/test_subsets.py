"""Retention and overlap, against sets."""

from pathlib import Path

import numpy as np
import pytest
from rated_example import drawn, groups, rated

from qurating.analysis.subsets import duplicates, overlap, retention
from qurating.artifacts.files import write_json


def test_retention_counts_tokens() -> None:
    given = drawn().with_groups("cluster", groups(["x", "", "y", ""] * 50))
    masks = {"low": given.ratings["style"] < 0.5, "none": np.zeros(200, bool)}
    rows = retention(given, masks).to_pylist()
    assert {(row["grouping"], row["group"]) for row in rows} == {
        *(("domain", name) for name in ("books", "code", "web")),
        ("cluster", "x"),
        ("cluster", "y"),
    }
    for row in rows:
        codes, names = given.groups[row["grouping"]]
        inside, mask = codes == names.index(row["group"]), masks[row["subset"]]
        tokens, kept = given.lengths[inside].sum(), given.lengths[inside & mask].sum()
        assert (row["tokens"], row["kept_tokens"]) == (tokens, kept)
        assert row["share_kept"] == pytest.approx(kept / tokens)
        grouped = codes >= 0
        assert row["share_of_corpus"] == pytest.approx(tokens / given.lengths[grouped].sum())
        whole = given.lengths[grouped & mask].sum()
        assert row["share_of_subset"] == (pytest.approx(kept / whole) if whole else None)


def test_overlap_is_jaccard_by_tokens_beside_chance() -> None:
    given = rated({"c": [0.0] * 4}, ["a"] * 4, [10, 20, 30, 40])
    masks = {"one": np.array([1, 1, 0, 0], bool), "two": np.array([0, 1, 1, 0], bool), "no": np.zeros(4, bool)}
    one_two, one_no, two_no = overlap(given, masks).to_pylist()
    assert one_two["shared_tokens"] == 20
    assert one_two["share"] == pytest.approx(20 / 60)
    chance = 30 * 50 / 100
    assert one_two["by_chance"] == pytest.approx(chance / (80 - chance))
    assert one_no["share"] == two_no["share"] == 0


def test_random_subsets_overlap_as_by_chance() -> None:
    draw = np.random.default_rng(0)
    given = rated({"c": np.zeros(20_000)}, ["a"] * 20_000, draw.integers(1, 100, 20_000))
    masks = {name: draw.random(20_000) < share for name, share in (("one", 0.3), ("two", 0.2))}
    (row,) = overlap(given, masks).to_pylist()
    assert row["share"] == pytest.approx(row["by_chance"], abs=0.01)


def test_checks_are_named_by_what_they_checked(tmp_path: Path) -> None:
    flagged = {"near_duplicates": {"tokens": 5}, "contamination": {"tokens": 20}}
    write_json(tmp_path / "report.json", {"tokens": 100, "flagged": flagged})
    write_json(tmp_path / "manifest.json", {"inputs": {"subset": "subsets/a (0123)", "corpus": "corpora/c (4567)"}})
    expected = {"subset": "a", "near_duplicate_share": 0.05, "contaminated_share": 0.2}
    assert duplicates([tmp_path]).to_pylist() == [expected]
    assert len(duplicates([])) == 0
