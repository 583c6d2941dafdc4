"""The index of what a rule chooses."""

import functools
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selection_example import chosen, corpus_with_tokens, rate_all, rows

from qurating.runtime.errors import StageError
from qurating.selection import rules, statistics


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_with_tokens(tmp_path / "corpus")


def test_a_budget_that_many_domains_pass_is_warned_of(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings = rate_all(corpus, tmp_path / "r", np.zeros(len(rows(corpus))))
    num_tokens = int(rows(corpus)["length"].to_numpy().sum()) // 2
    rule = functools.partial(rules.select, num_tokens=num_tokens)
    chosen(corpus, tmp_path / "few", ratings, rule=rule, by_domain=False)
    assert "for a budget" not in capsys.readouterr().out
    chosen(corpus, tmp_path / "many", ratings, rule=rule, domain_column="id")  # a domain a sequence
    assert f"for a budget of {num_tokens:,}. Each of {len(rows(corpus)):,} domains" in capsys.readouterr().out


def test_the_corpus_as_a_whole_still_tells_its_domains(corpus: Path, tmp_path: Path) -> None:
    table = rows(corpus)
    ratings = rate_all(corpus, tmp_path / "r", np.random.default_rng(0).normal(size=len(table)))
    subset = chosen(corpus, tmp_path / "s", ratings, by_domain=False)
    domain_of = dict(zip(table["id"].to_pylist(), table["domain"].to_pylist(), strict=True))
    assert subset["domain"].to_pylist() == [domain_of[id_] for id_ in subset["id"].to_pylist()]


def test_a_corpus_that_is_not_sound_is_refused(corpus: Path, tmp_path: Path) -> None:
    ratings = rate_all(corpus, tmp_path / "r", np.zeros(len(rows(corpus))))
    last = max((ratings / "train").glob("*.parquet"))
    kept = last.read_bytes()
    last.unlink()
    with pytest.raises(StageError, match=f"{last.name} is missing"):
        chosen(corpus, tmp_path / "s", ratings)
    last.write_bytes(kept)
    with pytest.raises(StageError, match="the budget is 10,000,000 tokens, the corpus holds"):
        chosen(corpus, tmp_path / "s", ratings, num_tokens=10_000_000)
    file = min((corpus / "train").glob("*.parquet"))
    table = pq.read_table(file)
    ids = table["id"].to_numpy().copy()
    ids[1] = ids[0]
    pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", pa.array(ids)), file)
    rule = functools.partial(rules.select, num_tokens=10, temperature=math.inf)
    with pytest.raises(StageError, match=f"1 ids occur twice, for example {ids[0]}"):
        chosen(corpus, tmp_path / "s", None, rule=rule, criterion=None)
    # a corpus too large to compare all ids: those selected are
    everything = functools.partial(rule, num_tokens=sum(rows(corpus)["length"].to_pylist()))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(statistics, "MAX_CHECKED_IDS", 3)
        with pytest.raises(StageError, match=f"1 ids occur twice, for example {ids[0]}"):
            chosen(corpus, tmp_path / "s", None, rule=everything, criterion=None)
