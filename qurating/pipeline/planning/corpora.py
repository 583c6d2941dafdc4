"""Tokens, documents and sequences of corpora that do not exist yet."""

from collections.abc import Mapping
from typing import Any

from qurating.corpus.files import named_files
from qurating.pipeline.planning.counts import Counts, UnknownError
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import without_pin

BYTES_PER_TOKEN = 4.0  # of plain text; of English about right for vocabularies of 32,000
_COMPRESSED = 3.0  # bytes of text per byte of a compressed file, or of a Parquet file
_SUFFIXES = (".gz", ".zst", ".bz2", ".xz", ".parquet")
_TOKENS_PER_DOCUMENT = 1000.0  # where nothing else is known


def corpus(settings: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[Counts, str]:
    """The counts of a corpus by its settings, and where its size comes from.

    Args:
        settings: of the stage prepare_corpus.
        known: `data_sets` and `networks` of conf/rates.yaml.

    Raises:
        UnknownError: nothing tells the size.
    """
    tokens, documents, origin = _size(settings["reader"], known["data_sets"])
    heldout = settings["heldout_fraction"]
    length = settings["sequence_length"]
    # a document ends with a sequence of half the length in the mean
    sequences = tokens / length + documents / 2
    counts = {
        "tokens": tokens * (1 - heldout),
        "heldout_tokens": tokens * heldout,
        "sequences": sequences * (1 - heldout),
        "heldout_sequences": sequences * heldout,
    }
    tokenizer = settings["tokenizer"]
    if tokenizer is None:
        counts["vocabulary"] = settings["vocabulary_size"]
    elif (entry := known["networks"].get(without_pin(tokenizer)[0])) is not None:
        counts["vocabulary"] = entry["vocab_size"]
    return Counts(counts, f"the vocabulary of {tokenizer} is not in conf/rates.yaml"), origin


def _size(reader: Mapping[str, Any], data_sets: Mapping[str, Any]) -> tuple[float, float, str]:
    """Tokens and documents of a corpus, and where they come from."""
    kind = str(reader["_target_"]).rsplit(".", 1)[-1]
    if kind == "Embedded":
        entry = data_sets["embedded"]
        share = reader["max_characters_per_domain"] / entry["max_characters_per_domain"]
        return entry["tokens"] * share, entry["documents"] * share, f"{entry['as_of']}, {entry['source']}"
    if kind == "Hub":
        key = ":".join(filter(None, (reader["dataset"], reader["subset"])))
        if key not in data_sets:
            raise UnknownError(f"conf/rates.yaml does not have the size of the data set {key}")
        entry = data_sets[key]
        documents = min(entry["documents"], reader["max_documents"] or float("inf"))
        note = " (keep_domains may leave less)" if reader["keep_domains"] and not reader["max_documents"] else ""
        return entry["tokens"] * documents / entry["documents"], documents, f"{entry['source']}{note}"
    if reader.get("paths"):
        try:
            files = [path for path, _ in named_files(reader["paths"])]
        except StageError as error:
            raise UnknownError(str(error)) from None
        sizes = ((path.stat().st_size, path.suffix in _SUFFIXES) for path in files)
        tokens = sum(size * (_COMPRESSED if packed else 1) for size, packed in sizes) / BYTES_PER_TOKEN
        origin = f"bytes of {len(files)} files / {BYTES_PER_TOKEN:g}, times {_COMPRESSED:g} if compressed"
        return tokens, tokens / _TOKENS_PER_DOCUMENT, origin
    raise UnknownError(f"nothing tells the size of what {kind} reads")
