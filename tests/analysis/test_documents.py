"""The sequences that a person looks at."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rated_example import NUM_ROWS, on_disk
from tokenizers import Tokenizer, models, pre_tokenizers

from qurating.analysis.documents import NUM_EXTREMES, chosen_rows, documents
from qurating.analysis.groups import percentiles
from qurating.analysis.rated import Rated, members_of, read_rated
from qurating.artifacts.files import write_json, write_table


def read(made: dict[str, Path], **changes: Any) -> Rated:
    settings: dict[str, Any] = {"domain_column": "domain", "label_columns": [], "max_sequences": 1000}
    return read_rated(made["c"], [made["r"], made["s"]], **(settings | changes))


def explored(made: dict[str, Path], rated: Rated, labels: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], int]:
    rows, sampled, _ = chosen_rows(rated, percentiles(rated), 20)
    subsets = {"a": members_of(rated, made["a"], made["c"])}
    table, unknown = documents(rated, made["c"], rows, sampled, subsets, labels, None)
    return table.to_pylist(), unknown


def tokenizer_of_words(folder: Path) -> None:
    """A tokenizer with one token per word of a text, and its end of text."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"eos_token": "?"})


def test_an_even_sample_extremes_and_percentiles_are_explored(tmp_path: Path) -> None:
    rated = read(on_disk(tmp_path))
    at_percentiles = percentiles(rated)
    rows, sampled, stride = chosen_rows(rated, at_percentiles, 20)
    assert stride == NUM_ROWS // 20
    assert rows[sampled].tolist() == list(range(0, NUM_ROWS, stride))
    for values in rated.ratings.values():
        ranked = np.argsort(values)
        assert {*ranked[:NUM_EXTREMES], *ranked[-NUM_EXTREMES:]} <= set(rows.tolist())
    assert set(at_percentiles["id"].to_pylist()) <= set(rated.ids[rows].tolist())


@pytest.mark.parametrize("max_sequences", [1000, 100])
def test_each_row_is_that_of_the_corpus(tmp_path: Path, max_sequences: int) -> None:
    made = on_disk(tmp_path, lang=[f"l{row % 4}" for row in range(NUM_ROWS)])
    rated = read(made, max_sequences=max_sequences, label_columns=["lang"])
    files = sorted((made["c"] / "train").iterdir())
    corpus = {row["id"]: row for file in files for row in pq.read_table(file).to_pylist()}
    rated_rows = [row for file in sorted((made["r"] / "train").iterdir()) for row in pq.read_table(file).to_pylist()]
    ratings = {row["id"]: row for row in rated_rows}
    found, _ = explored(made, rated, ("lang",))
    for row in found:
        own = corpus[row["id"]]
        assert all(row[name] == own[name] for name in ("document_id", "position", "domain", "length", "text"))
        assert row["cluster"] is None
        assert row["column.lang"] == own["lang"]
        assert row["kept.a"] == ((row["id"] - 1000) % 3 == 0)
        assert row["rating.style"] == pytest.approx(ratings[row["id"]]["style_average"], rel=1e-6)
        assert row["windows.style"] == ratings[row["id"]]["style_chunks"]
        assert len(row["windows.lqs"]) == 2
    by_rating = sorted(found, key=lambda row: row["rating.style"])
    assert [row["percentile.style"] for row in by_rating] == sorted(row["percentile.style"] for row in found)
    assert by_rating[0]["percentile.style"] == 0
    assert by_rating[-1]["percentile.style"] == 100


def test_windows_end_where_their_tokens_do(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    texts = [f"word{row} " + "one two three " * (row % 3 + 1) + "end" for row in range(NUM_ROWS)]
    for number, file in enumerate(sorted((made["c"] / "train").iterdir())):
        own = texts[80 * number : 80 * number + 80]
        table = pq.read_table(file)
        write_table(file, table.set_column(table.column_names.index("text"), "text", pa.array(own)))
        counts = [len(text.split()) for text in own]
        for folder in (made["r"], made["s"]):
            ratings = pq.read_table(folder / "train" / file.name)
            windows = pa.array([[3, count - 3] for count in counts], pa.list_(pa.int32()))
            place = ratings.column_names.index("chunk_lengths")
            write_table(folder / "train" / file.name, ratings.set_column(place, "chunk_lengths", windows))
    tokenizer_of_words(made["c"] / "tokenizer")
    found, unknown = explored(made, read(made))
    assert unknown == 0
    for row in found:
        first = " ".join(row["text"].split()[:3])
        assert row["window_ends"] == [len(first), len(row["text"])]


def test_windows_of_other_tokens_are_not_guessed(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    tokenizer_of_words(made["c"] / "tokenizer")  # not as many words as the windows have tokens
    found, unknown = explored(made, read(made))
    assert unknown == len(found)
    assert all(row["window_ends"] is None for row in found)


def test_without_texts_documents_and_windows_the_rest_is_there(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    for file in (made["c"] / "train").iterdir():
        write_table(file, pq.read_table(file, columns=["id", "domain", "length"]))
    for folder, name in ((made["r"], "style"), (made["s"], "lqs")):
        for file in (folder / "train").iterdir():
            write_table(file, pq.read_table(file, columns=["id", "length", f"{name}_average"]))
    found, unknown = explored(made, read(made))
    assert unknown == 0
    assert found[0]["text"] is None
    assert found[0]["document_id"] is None
    assert "window_ends" not in found[0]
    assert not [name for name in found[0] if name.startswith("windows.")]
    assert found[0]["rating.style"] is not None


def test_a_rating_that_is_not_finite_has_no_percentile(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    rated = read(made)
    rated.ratings["style"][:80] = np.nan
    found, _ = explored(made, rated)
    for row in found:
        assert (row["percentile.style"] is None) == (row["id"] < 1080)
