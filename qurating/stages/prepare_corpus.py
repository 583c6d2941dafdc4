"""Prepare a corpus: turn documents into shards of token sequences, and hold some documents out."""

import functools
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from qurating.artifacts.files import read_json, write_json, write_table
from qurating.artifacts.seeds import seed_for
from qurating.corpus import tokenizing
from qurating.corpus.readers import Document, Fields, Reader, TokenTables
from qurating.corpus.records import Column, columns_of
from qurating.corpus.sequence_ids import SeenIds, sequence_id
from qurating.runtime.errors import StageError
from qurating.runtime.workers import in_workers

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("document_id", pa.string()),
        ("position", pa.int32()),
        ("domain", pa.string()),
        ("text", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("length", pa.int32()),
    ]
)
SPLITS = ("train", "heldout")
_COMPARED, _COMPARED_CHARACTERS = 10, 64  # of each shard: sequences of given tokens with texts of so many characters


class Batch(NamedTuple):
    """The documents of one shard, and their digest, which shows whether a shard on disk was made from them."""

    number: int
    documents: list[Document]
    digest: str


def prepare_corpus(
    *,
    output: Path,
    reader: Reader,
    sequence_length: int,
    heldout_fraction: float,
    tokenizer: str | None,
    vocabulary_size: int,
    max_characters_for_tokenizer: int,
    documents_per_shard: int,
    max_characters_per_shard: int,
    seed: int,
    num_workers: int,
    token_variable: str = "HF_TOKEN",
    files: str | None = None,
    keep_columns: list[str] | None = None,
) -> dict[str, Any]:
    """Write `train/*.parquet`, `heldout/*.parquet` and `tokenizer/`; returns their counts.

    The columns are those of SCHEMA, and of `keep_columns` (see `records.columns_of`): fields of the source that every
    sequence of a document gets, null where a document has none. `documents_without` counts these documents.

    `tokenizer` names a Hugging Face tokenizer; with None, a byte-level BPE of `vocabulary_size` is trained on at most
    `max_characters_for_tokenizer` characters of the training documents. A hash of its id and `seed` decides whether a
    whole document is held out, whatever else is in the corpus. A shard holds `documents_per_shard` documents, or fewer
    once they have `max_characters_per_shard` characters. This bounds the memory to about that of `num_workers` + 2
    shards. With 0 or 1 workers, this process does all the work. The result is the same.

    `files` lists the files that the paths of the reader name: it is not used here, but other files make another
    artifact.

    Documents of a reader of `TokenTables` are sequences of the tokens that they bring along; they are not tokenised.

    Raises StageError if the corpus is empty, an id occurs twice, a split would be empty, or no document has a field to
    be kept (for one that is not optional, no document of the first shard).
    """
    columns = columns_of(keep_columns, SCHEMA.names)
    if columns and not isinstance(reader, Fields):
        raise StageError(f"corpus.keep_columns: the documents of {type(reader).__name__} have no fields to keep")
    if isinstance(reader, Fields):
        reader.kept = columns
    if isinstance(reader, TokenTables) and tokenizer is None:
        raise StageError("corpus.tokenizer is null: sequences of tokens need the tokenizer that made them")
    if sequence_length < 2:
        raise StageError(f"sequence_length is {sequence_length}; it must be at least 2")
    if not 0 <= heldout_fraction < 1:
        raise StageError(f"heldout_fraction is {heldout_fraction}; it must be at least 0 and below 1")
    for leftover in output.rglob(".*.tmp"):  # of a killed run
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    is_heldout = functools.partial(heldout, fraction=heldout_fraction, seed=seed)
    folder = output / "tokenizer"
    if not folder.exists():
        if tokenizer is None:
            texts = _sample(reader, max_characters_for_tokenizer, is_heldout)
            tokenizing.train_bpe(texts, vocabulary_size, folder)
        else:
            tokenizing.fetch_tokenizer(tokenizer, folder, os.environ.get(token_variable) or None, token_variable)

    bad_rows = output / "bad_rows.jsonl"
    bad_rows.unlink(missing_ok=True)
    empty: Counter[str] = Counter()
    batches = _batches(reader, documents_per_shard, max_characters_per_shard, bad_rows, empty)
    work = functools.partial(
        _write_shards, output=output, sequence_length=sequence_length, is_heldout=is_heldout, columns=columns
    )
    total: Counter[str] = Counter()
    for counts in in_workers(work, batches, num_workers):
        total.update(counts)
    left_out = empty + reader.skipped
    if not total["documents"] + total["heldout_documents"]:
        reasons = (
            ", ".join(f"{number} {reason}" for reason, number in sorted(left_out.items())) or "it has no documents"
        )
        raise StageError(
            f"the corpus is empty: no document with text ({reasons}) in {getattr(reader, 'paths', None) or reader}"
        )
    for split, wanted in zip(SPLITS, ("lower", "raise"), strict=True):
        if not total[_key(split, "documents")] and (split == "train" or heldout_fraction > 0):
            raise StageError(
                f"no document of {total['documents'] + total['heldout_documents']} falls into the {split} split at "
                f"heldout_fraction={heldout_fraction}: {wanted} it, use another seed, or a corpus of more documents"
            )
    _check_columns(reader, is_end=True)
    shutil.rmtree(output / ".progress")
    without = {column.name: total[f"documents_without/{column.name}"] for column in columns}
    return ({"documents_without": without} if columns else {}) | _report(
        total, dict(left_out), num_bad_rows=bad_rows.read_bytes().count(b"\n") if bad_rows.exists() else 0
    )


def heldout(document_id: str, fraction: float, seed: int) -> bool:
    """Whether a document is held out; it depends on its id and the seed alone, not on other documents."""
    return seed_for(seed, "prepare_corpus", "heldout", document_id) < fraction * 2**63


def _sample(reader: Reader, max_characters: int, is_heldout: Callable[[str], bool]) -> Iterator[str]:
    """Training texts of `max_characters` in total, spread over the parts of the reader as evenly as sizes allow."""
    parts, most = reader.parts(), reader.most_characters()
    total = None if most is None else min(most, max_characters)
    with tqdm(desc="train the tokenizer", total=total, unit="char", unit_scale=True, mininterval=0.5) as bar:
        left = max_characters
        for index, part in enumerate(parts):
            room = left // (len(parts) - index)
            for document in part:
                if room <= 0:
                    break
                if not is_heldout(document.document_id):
                    text = document.text[:room]
                    room -= len(text)
                    left -= len(text)
                    bar.update(len(text))
                    yield text
        bar.total = bar.n  # held-out documents, and what lies between texts, were counted too
        bar.refresh()


def _batches(
    reader: Reader, max_documents: int, max_characters: int, bad_rows: Path, empty: Counter[str]
) -> Iterator[Batch]:
    """The documents with text, in batches; appends bad rows to `bad_rows`, and counts empty documents in `empty`."""
    seen = SeenIds()
    documents: list[Document] = []
    num_characters = index = 0

    def batch() -> Batch:
        seen.add([document.document_id for document in documents])
        digest = hashlib.blake2b(digest_size=16)
        for document in documents:
            digest.update("\x00".join(document[:3]).encode() + b"\x01")
            if document.columns:
                digest.update(repr(document.columns).encode() + b"\x01")
            if document.input_ids is not None:
                digest.update(document.input_ids.tobytes() + b"\x01")
        if index == 0:
            _check_columns(reader, is_end=False)
        if reader.bad_rows:
            with open(bad_rows, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in reader.bad_rows)
            reader.bad_rows.clear()
        return Batch(index, documents, digest.hexdigest())

    for document in tqdm(reader, desc="tokenise", unit="document", mininterval=0.5):
        is_decoded_later = document.input_ids is not None and not document.text
        if not document.text.strip() and not is_decoded_later:
            empty["empty"] += 1
            continue
        if documents and num_characters + len(document.text) > max_characters:
            yield batch()
            documents, num_characters, index = [], 0, index + 1
        documents.append(document)
        num_characters += len(document.text)
        if len(documents) == max_documents:
            yield batch()
            documents, num_characters, index = [], 0, index + 1
    last = batch()  # also for the bad rows after the last document
    if last.documents:
        yield last


def _check_columns(reader: Reader, is_end: bool) -> None:
    """Refuse a field to be kept that no document has had so far; an optional one only at the end of the corpus."""
    if not isinstance(reader, Fields):
        return
    for column in reader.kept:
        if column.name in reader.absent and (is_end or not column.is_optional):
            where, way_out = "any document", "Correct the name"
            if not is_end:
                where = "the first shard"
                way_out += f"; if only later documents have it, say so with a question mark: {column.name}?"
            raise StageError(f"corpus.keep_columns: {reader.absent[column.name]} in {where}. {way_out}")


def _write_shards(
    batch: Batch, output: Path, sequence_length: int, is_heldout: Callable[[str], bool], columns: Sequence[Column]
) -> Counter[str]:
    """Tokenise a batch and write its shards, unless an earlier attempt did; returns their counts."""
    mark = output / ".progress" / f"{batch.number:05d}.json"
    if mark.exists():
        done = read_json(mark)
        if done["digest"] != batch.digest:
            raise StageError(f"the corpus has changed since {output} was begun: delete {output} and run again")
        return Counter(done["counts"])
    tokenizer = tokenizing.load(output / "tokenizer")
    _check_tokens(batch.documents, tokenizer, sequence_length)
    counts: Counter[str] = Counter()
    rows: dict[str, list[tuple[Document, int, tokenizing.Piece]]] = {split: [] for split in SPLITS}
    for document in batch.documents:
        if document.input_ids is None:
            pieces = tokenizing.pieces(document.text, tokenizer, sequence_length)
        else:
            pieces = [tokenizing.given_piece(document.text, document.input_ids, tokenizer)]
        if not pieces:
            counts["without_tokens"] += 1
            continue
        split = "heldout" if is_heldout(document.document_id) else "train"
        rows[split] += [(document, position, piece) for position, piece in enumerate(pieces)]
        num_tokens = sum(len(piece.input_ids) for piece in pieces)
        counts[_key(split, "documents")] += 1
        counts[_key(split, "sequences")] += len(pieces)
        counts[_key(split, "tokens")] += num_tokens
        counts[_key(split, "tokens_by_domain/") + document.domain] += num_tokens
        for column, value in zip(columns, document.columns, strict=True):
            counts[f"documents_without/{column.name}"] += value is None
    for split in SPLITS:
        if rows[split]:
            write_table(output / split / f"{batch.number:05d}.parquet", _table(rows[split], columns))
    write_json(mark, {"digest": batch.digest, "counts": counts})
    return counts


def _check_tokens(documents: Sequence[Document], tokenizer: tokenizing.TextTokenizer, sequence_length: int) -> None:
    """Refuse given tokens that are too many, not of the tokenizer, or not those of their texts."""
    given = [(document, document.input_ids) for document in documents if document.input_ids is not None]
    if not given:
        return
    size = tokenizing.vocabulary_size(tokenizer.tokenizer)
    way_out = "set corpus.tokenizer to the one that made them"
    for document, ids in given:
        if len(ids) > sequence_length:
            raise StageError(
                f"{document.document_id} has {len(ids):,} tokens: corpus.sequence_length={sequence_length} must be at "
                "least the longest sequence"
            )
        if ids.max() >= size:
            raise StageError(
                f"{document.document_id} has the token id {ids.max():,}, and the ids of the tokenizer end at "
                f"{size - 1:,}: {way_out}"
            )
    long = [(document, ids) for document, ids in given if len(document.text) >= _COMPARED_CHARACTERS][:_COMPARED]
    if long and not any(tokenizing.spells(ids, document.text, tokenizer) for document, ids in long):
        raise StageError(
            f"the tokens of {long[0][0].document_id} do not spell its text ({len(long)} sequences were compared): "
            f"{way_out}, or corpus.text_field to null if the texts were changed since: they are decoded then"
        )


def _table(rows: list[tuple[Document, int, tokenizing.Piece]], kept: Sequence[Column]) -> pa.Table:
    lengths = np.array([len(piece.input_ids) for _, _, piece in rows], dtype=np.int32)
    columns: list[pa.Array] = [
        pa.array([sequence_id(document.document_id, position) for document, position, _ in rows], pa.int64()),
        pa.array([document.document_id for document, _, _ in rows], pa.string()),
        pa.array([position for _, position, _ in rows], pa.int32()),
        pa.array([document.domain for document, _, _ in rows], pa.string()),
        pa.array([piece.text for _, _, piece in rows], pa.string()),
        pa.ListArray.from_arrays(
            pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()),
            pa.array(np.concatenate([piece.input_ids for _, _, piece in rows]), pa.int32()),
        ),
        pa.array(lengths, pa.int32()),
    ]
    schema = SCHEMA
    for place, column in enumerate(kept):
        schema = schema.append(pa.field(column.name, pa.float64() if column.is_number else pa.string()))
        columns.append(pa.array([document.columns[place] for document, _, _ in rows], schema.types[-1]))
    return pa.table(columns, schema=schema)


def _key(split: str, what: str) -> str:
    return what if split == "train" else f"heldout_{what}"


def _report(total: Counter[str], skipped: dict[str, int], num_bad_rows: int) -> dict[str, Any]:
    """Counts for the manifest, and the domains that only one split has."""
    keys = [_key(split, what) for split in SPLITS for what in ("documents", "sequences", "tokens")]
    report: dict[str, Any] = {key: total[key] for key in keys}
    for key in ("tokens_by_domain", "heldout_tokens_by_domain"):
        report[key] = {name.partition("/")[2]: n for name, n in sorted(total.items()) if name.startswith(f"{key}/")}
    if total["without_tokens"]:
        skipped["without tokens"] = total["without_tokens"]
    report |= {"skipped": skipped, "bad_rows": num_bad_rows}
    report["domains_without_heldout"] = sorted(report["tokens_by_domain"].keys() - report["heldout_tokens_by_domain"])
    report["domains_only_heldout"] = sorted(report["heldout_tokens_by_domain"].keys() - report["tokens_by_domain"])
    return report
