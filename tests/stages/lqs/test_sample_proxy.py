"""Drawing the proxy set: what is drawn depends on ids and the seed alone."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sweep_example import corpus as make_corpus
from sweep_example import read

from qurating.artifacts.seeds import seed_for
from qurating.corpus.sequences import read_sequences
from qurating.runtime.errors import StageError
from qurating.selection.index import PLACE_SCHEMA
from qurating.selection.noise import gumbel
from qurating.stages.lqs.sample_proxy import sample_proxy


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def draw(corpus: Path, output: Path, num_sequences: int, seed: int = 0) -> tuple[pa.Table, dict[str, Any]]:
    output.mkdir(exist_ok=True)
    counts = sample_proxy(output=output, corpus=corpus, num_sequences=num_sequences, seed=seed)
    return pq.read_table(output / "proxy.parquet"), counts


def with_target(corpus: Path) -> pa.Table:
    rows = read(corpus)
    return rows.filter(pc.greater_equal(rows["length"], 2))


def in_shards(rows: pa.Table, folder: Path, size: int) -> Path:
    (folder / "train").mkdir(parents=True)
    for number, start in enumerate(range(0, len(rows), size)):
        pq.write_table(rows.slice(start, size), folder / f"train/{number:05}.parquet")
    return folder


def test_the_highest_noise_is_drawn_first(corpus: Path, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    proxy, counts = draw(corpus, tmp_path, 50, seed)
    rows = with_target(corpus)
    ids = rows["id"].to_pylist()
    noise = gumbel(rows["id"].to_numpy().astype(np.uint64), seed_for(seed, "sample_proxy", "noise")).tolist()
    assert proxy.schema.equals(PLACE_SCHEMA)
    assert proxy["id"].to_pylist() == [name for _, name in sorted(zip(noise, ids, strict=True), reverse=True)[:50]]
    columns = ["id", "length", "domain"]
    assert read_sequences(corpus, proxy, columns).equals(proxy.select(columns).combine_chunks())
    assert counts["sequences"] == 50 == sum(counts["sequences_by_domain"].values())
    assert counts["tokens"] == sum(proxy["length"].to_pylist())
    assert counts["corpus_sequences"] == len(read(corpus)) == len(rows) + counts["without_target"]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_shards_and_the_order_of_rows_change_nothing(corpus: Path, tmp_path: Path, size: int) -> None:
    rows = with_target(corpus).slice(0, 150)
    expected = draw(in_shards(rows, tmp_path / "whole", 150), tmp_path / "a", 20)[0]
    mixed = rows.take(pa.array(np.random.default_rng(0).permutation(150)))
    other = in_shards(mixed, tmp_path / "other", size)
    found, _ = draw(other, tmp_path / "b", 20)
    columns = ["id", "length", "domain"]
    assert found.select(columns).equals(expected.select(columns))
    assert read_sequences(other, found, columns).equals(found.select(columns).combine_chunks())


def test_fewer_are_the_first_of_more_and_all_can_be_drawn(corpus: Path, tmp_path: Path) -> None:
    rows = with_target(corpus)
    every, _ = draw(corpus, tmp_path / "a", len(rows))
    assert sorted(every["id"].to_pylist()) == sorted(rows["id"].to_pylist())
    assert draw(corpus, tmp_path / "b", 33)[0].equals(every.slice(0, 33).combine_chunks())
    assert draw(corpus, tmp_path / "c", 33, seed=1)[0]["id"].to_pylist() != every["id"].to_pylist()[:33]


def test_every_sequence_is_as_likely_as_any_other(corpus: Path, tmp_path: Path) -> None:
    rows = with_target(corpus).slice(0, 40)
    few = in_shards(rows, tmp_path / "few", 40)
    times = dict.fromkeys(rows["id"].to_pylist(), 0)
    for seed in range(100):
        for name in draw(few, tmp_path / "out", 20, seed)[0]["id"].to_pylist():
            times[name] += 1
    # each is drawn in half of 100 draws: 50 ± 5; the squared deviations in units of that are χ² of 39 degrees
    deviations = (np.array(list(times.values())) - 50) / 5
    assert 15 < (deviations**2).sum() * 39 / 40 < 75


def test_a_sequence_of_one_token_is_not_drawn(corpus: Path, tmp_path: Path) -> None:
    rows = with_target(corpus).slice(0, 30)
    lengths = [1 if number in (3, 17) else length for number, length in enumerate(rows["length"].to_pylist())]
    place = rows.schema.get_field_index("length")
    rows = rows.set_column(place, "length", pa.array(lengths, pa.int32()))
    few = in_shards(rows, tmp_path / "few", 8)
    proxy, counts = draw(few, tmp_path / "out", 28)
    short = {rows["id"][3].as_py(), rows["id"][17].as_py()}
    assert set(proxy["id"].to_pylist()) == set(rows["id"].to_pylist()) - short
    assert counts["without_target"] == 2
    message = r"num_proxy_sequences=29: few has 28 sequences \(and 2 of one token.*\): lower it to 28 or less"
    with pytest.raises(StageError, match=message):
        draw(few, tmp_path / "out", 29)


@pytest.mark.parametrize("number", [0, -3, 2.5])
def test_an_impossible_number_is_refused(corpus: Path, tmp_path: Path, number: float) -> None:
    with pytest.raises(
        StageError, match=rf"annotation\.num_proxy_sequences={number}: it must be a whole number of at least 1"
    ):
        draw(corpus, tmp_path, number)  # type: ignore[arg-type]
