"""Import ratings that others made, in place of those of a rater."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import read_json, row_files, write_table
from qurating.corpus.files import named_files
from qurating.corpus.hashing import Ids, as_ids
from qurating.rating import shards
from qurating.rating.matching import Found, Matcher
from qurating.rating.tables import layout_of
from qurating.runtime.errors import StageError

_SHOWN = 3  # ids in a message


def import_ratings(
    *,
    output: Path,
    corpus: Path,
    paths: str | Sequence[str] | None,
    files: str | None,
    columns: list[str] | None,
    document_field: str | None,
    missing_value: float | None,
) -> dict[str, Any]:
    """Write one shard of ratings for each training shard of the corpus, row for row, as `rate` does.

    The columns are those of `rate`. Without windows in the tables, a sequence is one window. The rating of a document
    is that of each of its sequences; its windows are kept if it has one sequence. Memory: see `rating.matching`.

    Args:
        paths: Parquet files or JSON lines, or patterns, see `rating.tables`.
        files: the fingerprint of these files; other files make another artifact.
        columns: that hold the ratings; None: see `rating.tables`.
        document_field: the column with the ids of documents; None: see `rating.tables`.
        missing_value: the rating, by every criterion, of sequences that have none; None: they are an error.

    Returns:
        counts: `sequences`, `tokens` and `criteria`; `ratings_of` (sequences or documents); rows of the files that
        `repeated` an earlier one, that are of `heldout` documents, or `surplus` (of neither part of the corpus);
        `missing` sequences; the `unused` columns.

    Raises:
        StageError: files without ratings; rows that cannot be used, or contradict each other; sequences without a
            rating.
    """
    if paths is None:
        raise StageError("no ratings to import: set ratings to files")
    if missing_value is not None and not math.isfinite(missing_value):
        raise StageError(f"stages.import_ratings.missing_value is a finite number, not {missing_value}")
    given = named_files([paths] if isinstance(paths, str) else paths)
    layout = layout_of(given[0][0], columns, document_field)
    unit = "documents" if layout.of_documents else "sequences"
    named = ", ".join(c if c == column else f"{c} (column {column})" for c, column in layout.columns.items())
    tqdm.write(f"    ratings of {unit}, by {named}; not used: {', '.join(layout.unused) or 'no other column'}")
    matcher = Matcher(given, layout, output / ".scratch")
    try:
        counts = _write(output, corpus, matcher, list(layout.columns), layout.of_documents, missing_value, files)
        counts |= {"repeated": matcher.num_repeated, "heldout": 0}
        for file in sorted((corpus / "heldout").glob("*.parquet")):
            counts["heldout"] += matcher.use(_keys(_ids(file), layout.of_documents)[0])
        counts["surplus"], first = matcher.surplus()
        if counts["missing"] and missing_value is None:
            raise _missing(counts, corpus, matcher, layout.of_documents)
    finally:
        matcher.close()
    if counts["missing"]:
        share = counts["missing"] / counts["sequences"]
        tqdm.write(
            f"    {counts['missing']:,} sequences ({share:.1%}) have no rating and get {missing_value:g}, which is "
            "part of the mean and the deviation of all ratings"
        )
    if counts["surplus"]:
        tqdm.write(f"    {counts['surplus']:,} ratings are of no {unit[:-1]} of the corpus; the first: {first}")
    del counts["examples"]
    return counts | {
        "criteria": list(layout.columns),
        "ratings_of": unit,
        "unused": layout.unused,
        "labels": _labels([path for path, _ in given]),
    }


def _write(
    output: Path,
    corpus: Path,
    matcher: Matcher,
    criteria: list[str],
    of_documents: bool,
    missing_value: float | None,
    files: str | None,
) -> dict[str, Any]:
    """Write the shards, and count; once a sequence without a rating is an error, only count."""
    counts: dict[str, Any] = {"sequences": 0, "tokens": 0, "missing": 0, "examples": []}
    for file in tqdm(row_files(corpus / "train"), desc="matching ratings", unit="shard", mininterval=0.5):
        rows = _ids(file)
        keys, is_alone = _keys(rows, of_documents)
        found = matcher.find(keys)
        counts["sequences"] += len(rows)
        counts["tokens"] += int(rows["length"].to_numpy().sum())
        missing = np.flatnonzero(~found.is_there)
        counts["missing"] += len(missing)
        for row in missing[: _SHOWN - len(counts["examples"])].tolist():
            counts["examples"].append(f"{rows['id'][row]} of document {rows['document_id'][row].as_py()!r}")
        if counts["missing"] and missing_value is None:
            continue
        if missing_value is not None:
            found.averages[missing] = missing_value
        table = _table(rows, found, is_alone, criteria)
        origin = shards.provenance_of(file, f"imported: {files}")
        write_table(output / "train" / file.name, table.replace_schema_metadata({shards.KEY: json.dumps(origin)}))
    return counts


def _ids(file: Path) -> pa.Table:
    return pq.read_table(file, columns=["id", "document_id", "length"])


def _keys(rows: pa.Table, of_documents: bool) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """The key of each sequence (n,), and whether its ratings are of itself: not of a document with more sequences."""
    if not of_documents:
        return as_ids(rows["id"].to_numpy()), np.ones(len(rows), bool)
    documents = rows["document_id"].combine_chunks().dictionary_encode()
    own = as_ids(np.array(documents.dictionary.to_pylist(), object))
    indices = documents.indices.to_numpy()
    return own[indices], np.bincount(indices, minlength=len(own))[indices] == 1


def _table(rows: pa.Table, found: Found, is_alone: npt.NDArray[np.bool_], criteria: list[str]) -> pa.Table:
    """The ratings of a shard; a sequence without windows of its own is one window."""
    lengths = rows["length"].to_numpy().astype(np.int32)
    counts, of_windows, values = np.ones(len(rows), np.int64), lengths, found.averages
    if found.windows is not None:
        has_own = is_alone & (found.windows.counts > 0)
        counts = np.where(has_own, found.windows.counts, 1)
        kept, is_own = np.repeat(has_own, found.windows.counts), np.repeat(has_own, counts)
        of_windows, values = np.empty(counts.sum(), np.int32), np.empty((counts.sum(), len(criteria)))
        of_windows[is_own], values[is_own] = found.windows.lengths[kept], found.windows.values[kept]
        of_windows[~is_own], values[~is_own] = lengths[~has_own], found.averages[~has_own]
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    columns: dict[str, Any] = {"id": rows["id"], "length": rows["length"]}
    columns["chunk_lengths"] = pa.ListArray.from_arrays(offsets, pa.array(of_windows))
    for place, name in enumerate(criteria):
        columns[f"{name}_chunks"] = pa.ListArray.from_arrays(offsets, pa.array(values[:, place]))
        columns[f"{name}_average"] = found.averages[:, place]
    return pa.table(columns)


def _missing(counts: dict[str, Any], corpus: Path, matcher: Matcher, of_documents: bool) -> StageError:
    more = ", …" if counts["missing"] > _SHOWN else ""
    text = (
        f"{counts['missing']:,} of {counts['sequences']:,} sequences of {corpus} have no rating: "
        f"{', '.join(counts['examples'])}{more}."
    )
    if counts["missing"] == counts["sequences"]:
        unit = "document" if of_documents else "sequence"
        text += f" The first rating is of {unit} {matcher.first!r}: it must be an id of the corpus."
        if not of_documents:
            text += " If these are ids of documents, say so: stages.import_ratings.document_field=id."
    return StageError(f"{text} Add their ratings, or give them a value: stages.import_ratings.missing_value=NUMBER")


def _labels(files: Sequence[Path]) -> list[str]:
    """The labels of the artifacts that the files are part of, such as `simulated judge`."""
    beside = {folder / "manifest.json" for file in files for folder in list(file.absolute().parents)[:2]}
    return sorted({label for path in beside if path.is_file() for label in read_json(path).get("labels", [])})
