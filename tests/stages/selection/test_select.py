"""Selection as a stage: what it selects, and what it refuses, on a real corpus artifact."""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selection_example import chosen, corpus_with_tokens, counts_of_chosen, ordered, rate_all, rows

from qurating.artifacts.files import read_json
from qurating.artifacts.seeds import seed_for
from qurating.runtime.errors import StageError
from qurating.selection import rules
from qurating.selection.rows import Arrays


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_with_tokens(tmp_path / "corpus")


def test_the_stage_selects_what_the_maths_selects(corpus: Path, tmp_path: Path) -> None:
    table = rows(corpus)
    scores = np.random.default_rng(0).normal(size=len(table))
    subset = chosen(corpus, tmp_path / "s", rate_all(corpus, tmp_path / "r", scores))
    there = Arrays(
        scores,
        table["length"].to_numpy(),
        domains=table["domain"].to_numpy(zero_copy_only=False),
        ids=table["id"].to_numpy(),
    )
    seed = seed_for(5, "select", "noise")
    expected = rules.select(there, num_tokens=800, temperature=1.0, seed=seed).indices()
    assert subset["id"].to_pylist() == table["id"].take(pa.array(expected)).to_pylist()
    assert subset["score"].to_pylist() == scores[expected].tolist()
    files = sorted((corpus / "train").glob("*.parquet"))
    for row in subset.to_pylist():
        assert pq.read_table(files[row["shard"]])["id"][row["row"]].as_py() == row["id"]


def test_bad_ratings_are_refused(corpus: Path, tmp_path: Path) -> None:
    scores = np.zeros(len(rows(corpus)))
    scores[3] = np.nan
    nan = rate_all(corpus, tmp_path / "nan", scores)
    with pytest.raises(StageError, match="1 scores by c are NaN or infinite, the first at position 3, of id "):
        chosen(corpus, tmp_path / "s", nan)
    with pytest.raises(StageError, match="selecting by c needs ratings"):
        chosen(corpus, tmp_path / "s", None)
    everything = functools.partial(
        rules.select, num_tokens=int(rows(corpus)["length"].to_numpy().sum()), temperature=math.inf
    )
    chosen(corpus, tmp_path / "all", None, rule=everything, criterion=None)
    with pytest.raises(StageError, match="ordering by sorting: 1 scores are NaN or infinite, the first at position"):
        ordered(corpus, tmp_path / "o", tmp_path / "all", nan, "sorting")
    good = rate_all(corpus, tmp_path / "good", np.zeros(len(scores)))
    with pytest.raises(StageError, match="has no ratings by d; it has c"):
        chosen(corpus, tmp_path / "s", good, criterion="d")
    with pytest.raises(StageError, match="needs ratings: set ordering"):
        ordered(corpus, tmp_path / "o", tmp_path / "all", None, "folding")
    with pytest.raises(StageError, match="unknown ordering 'fold': use shuffle"):
        ordered(corpus, tmp_path / "o", tmp_path / "all", good, "fold")


def test_scores_that_choose_nothing_are_told(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = rows(corpus)
    domains = table["domain"].to_numpy(zero_copy_only=False)
    names, sizes = np.unique(domains, return_counts=True)
    of_size = {name: size for name, size in zip(names.tolist(), sizes.tolist(), strict=True) if size > 1}
    assert len(of_size) > 1
    largest = names[sizes.argmax()]
    varied = np.random.default_rng(0).normal(size=len(table))
    by_domain = np.searchsorted(names, domains).astype(float)
    partly = np.where(domains == largest, 3.0, varied)
    cases: list[tuple[np.ndarray, dict[str, Any], dict[str, int] | None, bool]] = [
        (varied, {}, None, False),
        (np.full(len(table), 0.1), {}, of_size, True),
        (by_domain, {}, of_size, True),  # each domain has its own budget, and no choice
        (by_domain, {"by_domain": False}, None, False),
        (partly, {}, {largest: of_size[largest]}, False),
        (np.zeros(len(table)), {"by_domain": False}, {"all": len(table)}, True),
        (np.zeros(len(table)), {"rule": functools.partial(rules.top_r, fraction=0.5)}, {"all": len(table)}, True),
        (by_domain, {"rule": functools.partial(rules.top_r, fraction=0.5)}, None, False),
        (by_domain, {"rule": functools.partial(rules.pool, num_tokens=800, fraction=0.9)}, of_size, True),
        (np.zeros(len(table)), {"rule": functools.partial(rules.threshold, minimum=0)}, {"all": len(table)}, True),
        (
            np.zeros(len(table)),
            {"rule": functools.partial(rules.select, num_tokens=800, temperature=math.inf)},
            None,
            False,
        ),
    ]
    for number, (scores, changes, constant, labelled) in enumerate(cases):
        ratings = rate_all(corpus, tmp_path / f"r{number}", scores)
        counts = counts_of_chosen(corpus, tmp_path / f"s{number}", ratings, **changes)
        said = capsys.readouterr().out
        assert counts.get("constant_scores") == (None if constant is None else {"c": constant}), number
        assert counts.get("labels", []) == (["constant scores"] if labelled else []), number
        assert ("the scores by c are equal" in said) == (constant is not None), number


def test_settings_that_contradict_one_another_are_refused(corpus: Path, tmp_path: Path) -> None:
    good = rate_all(corpus, tmp_path / "good", np.zeros(len(rows(corpus))))
    rule = functools.partial(rules.select, num_tokens=800, domain_weights={"books": 1})
    with pytest.raises(StageError, match=r"domain_weights need selection\.by_domain=true"):
        chosen(corpus, tmp_path / "s", good, rule=rule, by_domain=False)
    rule = functools.partial(rules.select, num_tokens=800, normalisation="per_domain")
    with pytest.raises(StageError, match=r"per_domain needs selection\.by_domain=true"):
        chosen(corpus, tmp_path / "s", good, rule=rule, by_domain=False)
    with pytest.raises(StageError, match="names one twice: c, c"):
        chosen(corpus, tmp_path / "s", good, criterion=["c", "c"])


def test_ratings_and_subsets_of_another_corpus_are_refused(corpus: Path, tmp_path: Path) -> None:
    ratings = rate_all(corpus, tmp_path / "r", np.zeros(len(rows(corpus))))
    chosen(corpus, tmp_path / "s", ratings)
    for file in (corpus / "train").glob("*.parquet"):
        table = pq.read_table(file)
        ids = pa.array(table["id"].to_numpy() + 10_000)
        pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", ids), file)
    with pytest.raises(StageError, match="holds ratings of another corpus"):
        chosen(corpus, tmp_path / "t", ratings)
    with pytest.raises(StageError, match="was selected from another corpus"):
        ordered(corpus, tmp_path / "o", tmp_path / "s", None, "shuffle")


def test_a_column_that_came_along_gives_the_domains(corpus: Path, tmp_path: Path) -> None:
    """Its name may have a dot; no column is the column `domain`."""
    langs: dict[int, str | None] = {}
    for file in (corpus / "train").glob("*.parquet"):
        table = pq.read_table(file)
        own = [None if place % 5 == 0 else ("de", "en")[place % 2] for place in range(len(table))]
        langs |= dict(zip(table["id"].to_pylist(), own, strict=True))
        pq.write_table(table.append_column("meta.lang", pa.array(own, pa.string())), file)
    lengths = dict(zip(rows(corpus)["id"].to_pylist(), rows(corpus)["length"].to_pylist(), strict=True))
    rule = functools.partial(rules.select, num_tokens=400, temperature=math.inf)
    subset = chosen(corpus, tmp_path / "s", None, rule=rule, criterion=None, domain_column="meta.lang")
    for row in subset.to_pylist():
        assert row["domain"] == (langs[row["id"]] or "none")
    summary = read_json(tmp_path / "s/summary.json")["domains"]
    for name, domain in summary.items():
        own_tokens = sum(length for id_, length in lengths.items() if (langs[id_] or "none") == name)
        assert domain["corpus_tokens"] == own_tokens
        share = 400 * own_tokens / sum(lengths.values())
        assert share <= domain["tokens"] + 1
        assert domain["tokens"] < share + 51  # the sequence that crosses it
    assert set(summary) == {"de", "en", "none"}
    null = chosen(corpus, tmp_path / "n", None, rule=rule, criterion=None, domain_column=None)
    assert null.equals(chosen(corpus, tmp_path / "d", None, rule=rule, criterion=None, domain_column="domain"))


def test_domains_may_lie_within_another_column_and_be_weighted(corpus: Path, tmp_path: Path) -> None:
    for file in (corpus / "train").glob("*.parquet"):
        table = pq.read_table(file)
        names = [None if place % 5 == 0 else "ab"[place % 2] for place in range(len(table))]
        meta = pa.StructArray.from_arrays([pa.array(names, pa.string())], ["source"])
        pq.write_table(table.append_column("meta", meta), file)
    weights = {"a": 2, "b": 1, "none": 1}
    rule = functools.partial(rules.select, num_tokens=400, temperature=math.inf, domain_weights=weights)
    subset = chosen(corpus, tmp_path / "s", None, rule=rule, criterion=None, domain_column="meta.source")
    tokens = dict.fromkeys(weights, 0)
    for row in subset.to_pylist():
        tokens[row["domain"]] += row["length"]
    assert 200 <= tokens["a"] < 250
    assert 100 <= tokens["b"] < 150
    assert 100 <= tokens["none"] < 150
    summary = read_json(tmp_path / "s/summary.json")["domains"]
    assert {name: domain["tokens"] for name, domain in summary.items()} == tokens
    assert sum(domain["corpus_sequences"] for domain in summary.values()) == len(rows(corpus))
    with pytest.raises(StageError, match=r"has no column meta.origin; it has id.*meta.source"):
        chosen(corpus, tmp_path / "s", None, rule=rule, criterion=None, domain_column="meta.origin")
    strange = functools.partial(rule, domain_weights={"web": 1})
    with pytest.raises(StageError, match="unknown domain web; the domains are a, b, none"):
        chosen(corpus, tmp_path / "s", None, rule=strange, criterion=None, domain_column="meta.source")
